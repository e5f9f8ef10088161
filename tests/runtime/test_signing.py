"""Who made a bundle: signed by one of the box's keys, or refused; a local edit is told."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from runtime.bundle.folder import SIGNATURE_FILE, Bundle, pack_archive
from runtime.bundle.signing import check_signature, make_keys, sign_bundle
from runtime.errors import BundleError
from tests.cli import lineside
from tests.runtime.faults import pictures
from tests.runtime.tiny import edit_thresholds, reseal, write_bundle

pytest.importorskip("cryptography", reason="the extra 'sign' is not installed")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed bundle, its keys and those of somebody else."""
    root = tmp_path_factory.mktemp("signed")
    for name in ("line.key", "other.key"):
        make_keys(root / name)
    sign_bundle(write_bundle(root / "bundle"), root / "line.key")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "made"))


def checked(root: Path, keys: str = "line.key.pub") -> tuple[str, ...]:
    with Bundle.open(root / "bundle") as bundle:
        return check_signature(bundle, root / keys)


def test_a_signed_bundle_is_taken_as_folder_and_packed(root: Path) -> None:
    assert checked(root) == ()
    pack_archive(root / "bundle", root / "bundle.lineside")
    with Bundle.open(root / "bundle.lineside") as bundle:
        assert check_signature(bundle, root / "line.key.pub") == ()
    assert (root / "line.key").stat().st_mode & 0o077 == 0


def test_keys_change_through_a_file_that_holds_both(root: Path) -> None:
    both = (
        (root / "other.key.pub").read_text()
        + "# the old one\n"
        + (root / "line.key.pub").read_text()
    )
    (root / "keys.pem").write_text(both)
    assert checked(root, "keys.pem") == ()
    sign_bundle(root / "bundle", root / "other.key")
    assert checked(root, "keys.pem") == ()
    with pytest.raises(BundleError, match="expected a signature of one of the keys"):
        checked(root)


def rewritten(root: Path, **changes: object) -> None:
    path = root / "bundle" / SIGNATURE_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def resealed(root: Path) -> None:
    path = root / "bundle" / "bundle.json"
    path.write_text(path.read_text().replace('"tile-tiny"', '"tile-other"'))
    reseal(root / "bundle")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "bundle" / SIGNATURE_FILE).unlink(), "a signature, found none"),
        (lambda root: rewritten(root, signature="AAAA"), "has made, found another"),
        (lambda root: rewritten(root, signature="no base64"), "has made, found another"),
        (lambda root: rewritten(root, key="\n" * 9), "one of the keys"),
        (lambda root: rewritten(root, signed={}), "has made, found another"),
        (lambda root: rewritten(root, schema_version=2), "schema version 1, found 2"),
        (resealed, "bundle.json that was signed, found another"),
        (lambda root: (root / "line.key.pub").write_text("ssh-ed25519 AAAA"), "found none"),
        (lambda root: (root / "line.key.pub").unlink(), "expected public keys of Ed25519"),
        (lambda root: shutil.copy(root / "line.key", root / "line.key.pub"), "public keys"),
    ],
)
def test_everything_else_is_refused_in_one_line(root: Path, change: object, message: str) -> None:
    change(root)  # type: ignore[operator]
    with pytest.raises(BundleError, match=message) as caught:
        checked(root)
    assert "\n" not in str(caught.value)


def test_a_threshold_edited_on_the_box_is_told_and_can_be_signed(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit_thresholds(root / "bundle", image_threshold=70.0)
    with caplog.at_level(logging.WARNING, "lineside"):
        assert checked(root) == ("thresholds.json",)
    assert "thresholds.json: changed on this box since the bundle was signed" in caplog.text
    sign_bundle(root / "bundle", root / "line.key")
    assert checked(root) == ()


def test_what_is_damaged_is_not_signed(root: Path) -> None:
    path = root / "bundle" / "thresholds.json"
    path.write_text(path.read_text().replace("64.0", "65.0"))
    with pytest.raises(BundleError, match="seal"):
        sign_bundle(root / "bundle", root / "line.key")


def test_commands_ask_for_it(root: Path) -> None:
    part = pictures(root / "in", 1)[0]
    keys = ("--require-signature", root / "line.key.pub")
    bundle = root / "bundle"
    asked = [
        ("inspect", bundle, part),
        ("watch", bundle, root / "in", "--once"),
        ("verify", bundle),
    ]
    for command in asked:
        assert lineside(*command, *keys).returncode == 0
    (bundle / SIGNATURE_FILE).unlink()
    for command in asked:
        done = lineside(*command, *keys)
        assert done.returncode == 1
        assert "expected a signature, found none" in done.stderr
        assert done.stdout == ""


@pytest.mark.slow
def test_page_and_station_ask_for_it(root: Path) -> None:
    bundle = root / "bundle"
    (bundle / SIGNATURE_FILE).unlink()
    done = lineside("app", bundle, "--require-signature", root / "line.key.pub")
    assert (done.returncode, "expected a signature, found none" in done.stderr) == (1, True)
    station = root / "station.toml"
    station.write_text(
        'bundles = ["bundle"]\n[engine]\nsigned_by = "line.key.pub"\n'
        '[[sources]]\nname = "one"\nwatch = "in"\n'
    )
    done = lineside("station", station)
    assert (done.returncode, "expected a signature, found none" in done.stderr) == (1, True)


def test_the_command_makes_keys_and_signs(root: Path) -> None:
    assert lineside("sign", "--new-key", root / "new.key").returncode == 0
    done = lineside("sign", root / "bundle", "--key", root / "new.key")
    assert "signed with key" in done.stdout
    assert checked(root, "new.key.pub") == ()
    assert lineside("sign", root / "bundle").returncode == 2
    again = lineside("sign", "--new-key", root / "new.key")
    assert "expected no file yet, found one" in again.stderr
