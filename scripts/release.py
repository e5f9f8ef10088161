"""Make a release in dist/: wheel, sources, notes, requirements, bill of materials, signed hashes.

``make release KEY=~/.ssh/release``; ``make requirements`` resolves the packages of deploy/ anew. It
runs in the environment that the make target makes of scripts/release-tools.txt.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Of a file in deploy/: the extras that it is for.
REQUIREMENTS = {"requirements-base.txt": (), "requirements-station.txt": ("app", "mqtt", "sign")}
LEAST_PYTHON = "3.11"
SUMS = "SHA256SUMS"
# What a signature is for and whose it is, so that none of another use passes for one of ours.
NAMESPACE = "lineside"


class ReleaseError(SystemExit):
    """Why there is no release, in one line."""


def run(*command: object, cwd: Path = ROOT, **environment: str) -> str:
    """What a command says on stdout.

    Raises:
        ReleaseError: it failed.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        print(done.stdout, file=sys.stderr)
        raise ReleaseError(f"release: {Path(words[0]).name} failed with {done.returncode}")
    return done.stdout


def tool(name: str) -> Path:
    """A program of the environment that runs this."""
    return Path(sys.executable).parent / name


def version(root: Path = ROOT) -> str:
    """As pyproject.toml says."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def resolve(target: Path, extras: tuple[str, ...], *, upgrade: bool) -> None:
    """Write every package with version and hashes; what stands there is kept where it fits.

    Args:
        target: the file, one of those before or not there yet.
        extras: of the project.
        upgrade: whether the newest versions are taken instead.
    """
    chosen = [word for extra in extras for word in ("--extra", extra)]
    form = ("--universal", "--python-version", LEAST_PYTHON, "--generate-hashes", "--no-header")
    newest = ("--upgrade",) if upgrade else ()
    where = ("pyproject.toml", "--output-file", target)
    run(tool("uv"), "pip", "compile", "--quiet", *form, *newest, *chosen, *where)


def resolve_all(folder: Path, *, upgrade: bool) -> None:
    """Both files, into a folder."""
    for name, extras in REQUIREMENTS.items():
        resolve(folder / name, extras, upgrade=upgrade)


def check_requirements() -> None:
    """Refuse requirements that no longer are what pyproject.toml asks for."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for one in REQUIREMENTS:
            shutil.copy(ROOT / "deploy" / one, folder)
        resolve_all(folder, upgrade=False)
        for one in REQUIREMENTS:
            if (folder / one).read_bytes() != (ROOT / "deploy" / one).read_bytes():
                raise ReleaseError(
                    f"release: expected deploy/{one} to fit pyproject.toml, found that it does "
                    "not; type: make requirements, and commit it"
                )


def notes(changelog: str, released: str) -> str:
    """What CHANGELOG.md says of a version; of one that is still being made, what is unreleased.

    Raises:
        ReleaseError: it says nothing of it.
    """
    name = "Unreleased" if ".dev" in released else released
    _, heading, rest = changelog.partition(f"\n## [{name}]")
    said = rest.partition("\n")[2].partition("\n## [")[0].strip()
    if not heading or not said:
        raise ReleaseError(
            f"release: expected a section [{name}] with changes in CHANGELOG.md, found none; "
            "rename [Unreleased], give it today's date, and begin a new one above"
        )
    return f"{said}\n"


def write_sums(folder: Path) -> Path:
    """Hashes of every file of a release, as ``sha256sum --check`` reads them."""
    files = sorted(path for path in folder.iterdir() if not path.name.startswith(SUMS))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    sums = folder / SUMS
    sums.write_text("".join(lines), encoding="utf-8")
    return sums


def sign(sums: Path, key: Path) -> Path:
    """Sign the hashes with an SSH key; its password is asked for where it has one.

    Raises:
        ReleaseError: the key is not there, or does not fit.
    """
    signature = sums.with_name(f"{sums.name}.sig")
    signature.unlink(missing_ok=True)
    run("ssh-keygen", "-Y", "sign", "-f", key, "-n", NAMESPACE, sums)
    return signature


def add_licenses(bill: Path, found: Iterable[Distribution]) -> list[str]:
    """Write the packages' licenses into a bill of materials, as their own metadata says them.

    Args:
        bill: CycloneDX JSON, changed.
        found: the packages, installed.

    Returns:
        Names of components whose license nobody says.
    """
    stated = {_normal(one.metadata["Name"]): _licenses(one) for one in found}
    content = json.loads(bill.read_text(encoding="utf-8"))
    unknown = []
    for component in content["components"]:
        licenses = stated.get(_normal(component["name"]), [])
        if licenses:
            component["licenses"] = licenses
        else:
            unknown.append(component["name"])
    bill.write_text(f"{json.dumps(content, indent=2)}\n", encoding="utf-8")
    return unknown


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _licenses(one: Distribution) -> list[dict[str, Any]]:
    """An SPDX expression where there is one, else what the package calls its license."""
    metadata = one.metadata
    if expression := metadata.get("License-Expression"):
        return [{"expression": expression}]
    classified = [
        name.rpartition(" :: ")[2]
        for name in metadata.get_all("Classifier") or []
        if name.startswith("License :: ")
    ]
    written = (metadata.get("License") or "").strip()
    # Some have the whole text there.
    named = classified or ([written] if 0 < len(written) <= 80 else [])
    return [{"license": {"name": name}} for name in named]


def build(folder: Path) -> None:
    """Wheel, sources, requirements and bill of materials, checked, into an empty folder."""
    committed = run("git", "log", "-1", "--format=%ct").strip()
    # The same commit makes the same wheel, to the byte.
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, SOURCE_DATE_EPOCH=committed)
    packages = [path for path in folder.iterdir() if path.suffix in (".whl", ".gz")]
    run(tool("twine"), "check", "--strict", *packages)
    run(tool("check-wheel-contents"), *folder.glob("*.whl"))
    for name in REQUIREMENTS:
        shutil.copy(ROOT / "deploy" / name, folder)
    told = notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version())
    (folder / "NOTES.md").write_text(told, encoding="utf-8")
    bill = folder / f"lineside-{version()}.cdx.json"
    about = ("--pyproject", "pyproject.toml", "--mc-type", "application", "--output-reproducible")
    stated = ("--spec-version", "1.6", "--output-format", "JSON", "--output-file", bill)
    run(tool("cyclonedx-py"), "requirements", *about, *stated, "deploy/requirements-station.txt")
    with tempfile.TemporaryDirectory() as installed:
        where = ("--target", installed, "--no-deps", "--requirements")
        run(tool("uv"), "pip", "install", "--quiet", *where, "deploy/requirements-station.txt")
        unknown = add_licenses(bill, distributions(path=[installed]))
    if unknown:
        print(f"no license is stated of: {', '.join(sorted(unknown))}")


def release(key: Path) -> None:
    """All of it, into dist/."""
    if run("git", "status", "--porcelain").strip():
        raise ReleaseError("release: expected a folder without changes, found some; commit them")
    if not key.is_file():
        raise ReleaseError(
            f"release: expected an SSH key, found no file {key}; type: ssh-keygen -t ed25519 -f "
            "release, and then: make release KEY=release"
        )
    check_requirements()
    target = ROOT / "dist"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    build(target)
    sign(write_sums(target), key)
    for path in sorted(target.iterdir()):
        print(f"{path.stat().st_size:10,d}  dist/{path.name}")
    if ".dev" in version():
        print(f"{version()} is no version to publish: set it in pyproject.toml and CHANGELOG.md")
    else:
        print(f"next: git tag -s v{version()}, then twine upload dist/*.whl dist/*.tar.gz")


def main() -> None:
    """As the make targets call it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["release", "requirements"])
    parser.add_argument("--key", type=Path, default=Path())
    chosen = parser.parse_args()
    if chosen.what == "requirements":
        resolve_all(ROOT / "deploy", upgrade=True)
    else:
        release(chosen.key)


if __name__ == "__main__":
    main()
