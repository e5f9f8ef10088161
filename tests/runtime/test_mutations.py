"""Whatever is done to a bundle's files: a command says so in one line, or works. No traceback.

Seeded, so that a failure is the same everywhere. An exception that leaves the command fails the
test by itself, for the command runs in this process.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from runtime.bundle.folder import pack_archive
from runtime.bundle.sealing import SEAL, seal_of
from scripts.campaign import mutate
from scripts.fuzz import fuzz
from tests.cli import Done, lineside
from tests.runtime.faults import pictures
from tests.runtime.tiny import reseal
from tests.runtime.unwell import write_healthy_bundle

pytestmark = pytest.mark.slow

NAMES = ("bundle.json", "thresholds.json", "health.json")
HOSTILE: tuple[Any, ...] = (*mutate.HOSTILE, "openvino/fp32/\udcff.xml", {"\ud800": 1})
TEXTS = ("NaN", "Infinity", "1e999", "1" * 5000, "[" * 3000, '"\\ud800"', "tru", "\xff")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_healthy_bundle(tmp_path_factory.mktemp("whole") / "bundle")
    reseal(folder)
    pictures(folder.parent / "in", 2)
    return folder


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values inside one."""
    found = [at]
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in list(inner)[:12]:
            found += places(one, (*at, key))
    return found


def mutated(raw: Any, generator: random.Random) -> Any:
    """One value replaced, taken away or doubled."""
    raw = json.loads(json.dumps(raw))
    place = generator.choice(places(raw)[1:])
    holder = raw
    for key in place[:-1]:
        holder = holder[key]
    what = generator.random()
    if what < 0.15:
        del holder[place[-1]]
    elif what < 0.25 and isinstance(holder, dict):
        holder[generator.choice(["extra", "\ud800", ""])] = holder[place[-1]]
    else:
        holder[place[-1]] = generator.choice(HOSTILE)
    return raw


def check(done: Done) -> None:
    assert done.returncode in (0, 1, 3)
    assert "Traceback" not in done.stderr + done.stdout
    if done.returncode == 1 and done.stdout == "":
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("lineside: "), done.stderr
    # The pictures show bad parts: no edit may make them good ones.
    assert not any(line.startswith("good ") for line in done.stdout.splitlines()), done.stdout
    assert '"verdict": "good"' not in done.stdout


def commands(bundle: Path, parts: Path, generator: random.Random) -> None:
    for command in generator.sample(
        [
            ("inspect", bundle, parts, "--json"),
            (
                "inspect",
                bundle,
                parts,
                "--engine",
                "onnxruntime",
                "--save-maps",
                parts.parent / "maps",
            ),
            ("verify", bundle),
            ("watch", bundle, parts, "--once"),
            ("thresholds", bundle),
            ("thresholds", bundle, "history", "--json"),
            ("health", bundle),
            ("health", bundle, "--json"),
            ("thresholds", bundle, "seal"),
            ("health", bundle, "--seal"),
        ],
        3,
    ):
        check(lineside(*command))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed anew", "as edited"])
def test_a_value_edited_in_a_file(
    pristine: Path, tmp_path: Path, name: str, *, sealed: bool
) -> None:
    generator = random.Random(f"{name} {sealed}")
    bundle = Path(shutil.copytree(pristine, tmp_path / "bundle"))
    whole = json.loads((pristine / name).read_text())
    for _ in range(8):
        raw = mutated(whole, generator)
        if sealed and isinstance(raw, dict) and SEAL in raw:
            raw[SEAL] = seal_of(raw)
        for one in NAMES:
            shutil.copyfile(pristine / one, bundle / one)
        (bundle / name).write_text(json.dumps(raw), encoding="utf-8", errors="surrogatepass")
        commands(bundle, pristine.parent / "in", generator)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_put_into_a_file(pristine: Path, tmp_path: Path, name: str) -> None:
    generator = random.Random(name)
    bundle = Path(shutil.copytree(pristine, tmp_path / "bundle"))
    content = (pristine / name).read_bytes()
    for text in TEXTS:
        numbers = [at for at in range(len(content)) if content[at : at + 1].isdigit()]
        at = generator.choice(numbers)
        for one in NAMES:
            shutil.copyfile(pristine / one, bundle / one)
        (bundle / name).write_bytes(content[:at] + text.encode("latin-1") + content[at + 1 :])
        commands(bundle, pristine.parent / "in", generator)


@pytest.mark.parametrize("kind", ["flip", "cut", "compression", "name"])
def test_a_damaged_archive(pristine: Path, tmp_path: Path, kind: str) -> None:
    generator = random.Random(kind)
    pack_archive(pristine, tmp_path / "whole.lineside")
    whole = (tmp_path / "whole.lineside").read_bytes()
    damaged = tmp_path / "damaged.lineside"
    for turn in range(8):
        content = bytearray(whole)
        if kind == "flip":
            # Near the end stands the list of members: there a byte means most.
            start = 0 if turn % 2 else len(content) - 900
            for _ in range(generator.randint(1, 4)):
                content[generator.randrange(start, len(content))] = generator.randrange(256)
        elif kind == "cut":
            del content[generator.randrange(len(content)) :]
        else:
            content = bytearray(_rewritten(whole, kind, generator))
        damaged.write_bytes(bytes(content))
        check(lineside("inspect", damaged, pristine.parent / "in"))


def _rewritten(whole: bytes, kind: str, generator: random.Random) -> bytes:
    out = io.BytesIO()
    methods = (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.namelist():
            method = generator.choice(methods) if kind == "compression" else zipfile.ZIP_STORED
            name = member
            if kind == "name" and generator.random() < 0.2:
                name = generator.choice(["../x", "/x", "a" * 400, "x\ny", "C:x", member + "/"])
            new.writestr(name, old.read(member), method)
    content = bytearray(out.getvalue())
    if kind == "compression":
        # A stream that is none, in a codec that zipfile knows.
        at = generator.randrange(len(content))
        content[at : at + 8] = bytes(8)
    return bytes(content)


@pytest.mark.parametrize(
    "name", ["golden/reference.npz", "golden/0.png", "openvino/fp32/model.xml"]
)
def test_a_damaged_file_with_the_right_hash(pristine: Path, tmp_path: Path, name: str) -> None:
    """As if it had been damaged before the bundle was sealed."""
    generator = random.Random(name)
    bundle = Path(shutil.copytree(pristine, tmp_path / "bundle"))
    whole = (pristine / name).read_bytes()
    for turn in range(12):
        content = bytearray(whole)
        if turn % 3 == 0:
            del content[generator.randrange(len(content)) :]
        else:
            content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        (bundle / name).write_bytes(bytes(content))
        reseal(bundle)
        check(lineside("verify", bundle))
        check(lineside("inspect", bundle, pristine.parent / "in"))


def test_hostile_input_is_read_or_refused_within_bounds(pristine: Path) -> None:
    """A short piece of ``python -m scripts.fuzz``."""
    found = fuzz(pristine, 270, seed=1, http=False, forked=False).total
    assert found.cases >= 270
    assert found.faults == []
    assert 0 < found.refused < found.cases


def test_a_campaign_goes_on_where_it_was_ended(pristine: Path, tmp_path: Path) -> None:
    options = {"seed": 2, "http": False, "forked": False, "state": tmp_path / "state.json"}
    assert fuzz(pristine, 60, seconds=0, **options).total.cases == 0
    whole = fuzz(pristine, 60, **options)
    assert whole.total.cases >= 60
    assert fuzz(pristine, 60, **options).tried == whole.tried
