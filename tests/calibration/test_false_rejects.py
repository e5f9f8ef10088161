"""The benchmark's arithmetic: observed rates must follow the law that it prints beside them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.false_rejects import main


def test_observed_follows_the_expected_law(tmp_path):
    path = tmp_path / "scores.txt"
    np.savetxt(path, np.random.default_rng(0).gamma(3, size=500))
    done = CliRunner().invoke(
        main, [str(path), "--splits", "1500", "--json"], catch_exceptions=False
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["promise"] for row in rows} == {"on average", "confidence 0.95"}
    for row in rows:
        error = 4 * np.sqrt(0.25 / 1500)
        assert row["above_promise"] == pytest.approx(row["above_promise_expected"], abs=error)
        assert row["observed_mean"] <= row["promised"] + 0.005


def test_a_file_of_something_else_is_one_message(tmp_path):
    path = tmp_path / "scores.txt"
    path.write_text("hello\n")
    done = CliRunner().invoke(main, [str(path)])
    assert done.exit_code == 1
    assert "Error" in done.output
