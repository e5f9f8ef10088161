"""One file instead of a folder: the same verdicts, and nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from runtime.commands.pack import command
from runtime.errors import BundleError
from runtime.inspector import Inspector
from tests.runtime.tiny import random_image, write_bundle


def test_a_packed_bundle_gives_the_same_score(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    packed = tmp_path / "tiny.lineside"
    done = CliRunner().invoke(command, [str(bundle), str(packed)])
    assert done.exit_code == 0, done.output
    with Inspector(bundle) as folder, Inspector(packed) as file:
        assert folder.inspect(random_image(1)).pred_score == file.inspect(random_image(1)).pred_score


def test_a_damaged_bundle_or_a_wrong_name_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    with pytest.raises(BundleError, match=r"expected a name that ends in \.lineside"):
        CliRunner().invoke(command, [str(bundle), str(tmp_path / "tiny.zip")], catch_exceptions=False)
    model = next(bundle.rglob("*.bin"))
    model.write_bytes(model.read_bytes() + b"x")
    with pytest.raises(BundleError, match="expected sha256"):
        CliRunner().invoke(command, [str(bundle), str(tmp_path / "t.lineside")], catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
