"""A release is signed so that anybody can check it; an allowed fault has a last day."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from datetime import date
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distributions
from pathlib import Path

import pytest

from scripts.audit import ALLOWED, read_allowed, unreachable
from scripts.release import NAMESPACE, ReleaseError, add_licenses, notes, sign, version, write_sums

TODAY = date(2026, 11, 28)
CHANGELOG = ALLOWED.parents[1] / "CHANGELOG.md"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    folder.mkdir()
    for name in ("a.whl", "b.tar.gz"):
        (folder / name).write_text(name)
    return folder


def check(*command: object, folder: Path, given: Path | None = None) -> int:
    words = [str(word) for word in command]
    text = None if given is None else given.read_bytes()
    return subprocess.run(
        words, cwd=folder, input=text, capture_output=True, check=False
    ).returncode


def test_the_hashes_are_those_that_sha256sum_checks(release: Path) -> None:
    write_sums(release)
    assert check("sha256sum", "--check", "SHA256SUMS", folder=release) == 0
    (release / "a.whl").write_text("another")
    assert check("sha256sum", "--check", "SHA256SUMS", folder=release) == 1


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")
def test_whoever_has_the_public_key_checks_the_signature(release: Path, tmp_path: Path) -> None:
    key = tmp_path / "release"
    assert check("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key, folder=tmp_path) == 0
    sums = write_sums(release)
    signature = sign(sums, key)
    public = key.with_suffix(".pub").read_text(encoding="utf-8")
    signers = tmp_path / "allowed_signers"
    signers.write_text(f"releases@lineside {public}", encoding="utf-8")
    who = ("-f", signers, "-I", "releases@lineside", "-s", signature)
    verify = ("ssh-keygen", "-Y", "verify", *who, "-n")
    assert check(*verify, NAMESPACE, folder=release, given=sums) == 0
    assert check(*verify, "file", folder=release, given=sums) != 0
    sums.write_text(sums.read_text().replace("a.whl", "c.whl"))
    assert check(*verify, NAMESPACE, folder=release, given=sums) != 0
    with pytest.raises(ReleaseError, match="ssh-keygen failed"):
        sign(sums, tmp_path / "none")


def test_the_bill_of_materials_says_the_licenses_of_packages(tmp_path: Path) -> None:
    bill = tmp_path / "bill.json"
    components = [{"name": name} for name in ("NumPy", "msgspec", "click", "no-such-package")]
    bill.write_text(json.dumps({"bomFormat": "CycloneDX", "components": components}))
    assert add_licenses(bill, distributions()) == ["no-such-package"]
    found = json.loads(bill.read_text(encoding="utf-8"))["components"]
    assert {"expression": "BSD-3-Clause"} in found[2]["licenses"]
    assert all(len(one["licenses"]) for one in found[:3])
    assert "licenses" not in found[3]


def test_the_notes_are_the_section_of_the_version() -> None:
    text = "# Changelog\n\n## [Unreleased]\n\n### Added\n- b\n\n## [0.2.0] - 2026-11-28\n\n- a\n"
    assert notes(text, "0.3.0.dev0") == "### Added\n- b\n"
    assert notes(text, "0.2.0") == "- a\n"
    with pytest.raises(ReleaseError, match=r"expected a section \[0.3.0\]"):
        notes(text, "0.3.0")
    assert "lineside" in notes(CHANGELOG.read_text(encoding="utf-8"), version())


def test_a_fault_is_allowed_up_to_its_date() -> None:
    text = (
        "# why\n\nPYSEC-2026-12 2026-11-28 not reached\nGHSA-ab12-cd34-ef56 2027-01-01 fixed in 2\n"
    )
    assert read_allowed(text, TODAY) == ["PYSEC-2026-12", "GHSA-ab12-cd34-ef56"]
    with pytest.raises(ValueError, match="line 3: PYSEC-2026-12 was allowed until 2026-11-28"):
        read_allowed(text, date(2026, 11, 29))


@pytest.mark.parametrize(
    "line",
    ["PYSEC-2026-12", "PYSEC-2026-12 2027-01-01", "PYSEC-2026-12 soon ok", "CVE 2027-01-01 x"],
)
def test_an_allowance_without_date_or_reason_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="line 1: expected NAME YYYY-MM-DD reason"):
        read_allowed(line, TODAY)


def test_what_is_allowed_now_can_be_read() -> None:
    read_allowed(ALLOWED.read_text(encoding="utf-8"), date.min)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (json.dumps({"vulnerabilities": [{"id": "PYSEC-2020-1"}]}), ""),
        (json.dumps({"vulnerabilities": []}), "found an answer without any"),
        ("<html>a mirror</html>", "found JSONDecodeError"),
        (None, "found HTTPError: HTTP Error 404"),
    ],
    ids=["a database", "one that knows nothing", "no database", "a mirror of files"],
)
def test_an_audit_that_nobody_answers_says_so(
    tmp_path: Path, answer: str | None, said: str
) -> None:
    if answer is not None:
        (tmp_path / "pypi" / "pip" / "19.0").mkdir(parents=True)
        (tmp_path / "pypi" / "pip" / "19.0" / "json").write_text(answer)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = unreachable(f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
    assert said in found
    assert bool(found) == bool(said)
    if said:
        assert "Nothing was audited" in found


def test_an_audit_without_a_network_says_so() -> None:
    assert "URLError" in unreachable("http://127.0.0.1:9/")
