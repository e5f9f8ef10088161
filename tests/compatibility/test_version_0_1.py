"""What version 0.1 has written opens: a bundle, and a neighbor store, with nothing lost."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_app.fingerprint import bundle_fingerprint
from edge_app.store import PartPoint, give_word, open_store
from edge_app.store.edge import EdgeStore
from edge_app.store.inventory import Held, held_at
from runtime.errors import StoreError
from runtime.inspector import Inspector

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "expected-0.1.json").read_text(encoding="utf-8"))
BUNDLE, LENGTH = EXPECTED["bundle"], EXPECTED["embedding_length"]


def unpacked(name: str, target: Path) -> Path:
    with zipfile.ZipFile(HERE / name) as archive:
        archive.extractall(target)
    return target


def opened(folder: Path) -> EdgeStore:
    store = open_store(str(folder), bundle=BUNDLE, embedding_length=LENGTH, create=False)
    assert isinstance(store, EdgeStore)
    return store


def contents(store: EdgeStore) -> dict[str, PartPoint]:
    return {part.point_id: part for page in store.scroll(batch=7) for part in page}


def check(part: PartPoint, expected: dict[str, Any]) -> None:
    later = ("confirmed_by", "confirmed_defect", "confirmed_note", "judged_by")
    assert [getattr(part, name) for name in later] == [""] * 4
    payload = {name: value for name, value in part.payload().items() if name not in later}
    payload["thumbnail"] = hashlib.sha256(part.thumbnail.encode()).hexdigest()
    assert payload == {
        name: value
        for name, value in expected.items()
        if name not in ("id", "embedding", "neighbours")
    }
    np.testing.assert_array_equal(part.embedding, np.float32(expected["embedding"]))


def test_a_bundle_opens_and_judges_the_golden_pictures_alike(tmp_path: Path) -> None:
    bundle = unpacked("bundle-0.1.zip", tmp_path)
    with Inspector(bundle) as inspector:
        assert bundle_fingerprint(inspector.bundle) == BUNDLE
        for golden in EXPECTED["golden"]:
            said = inspector.inspect(bundle / "golden" / golden["picture"])
            assert said.verdict == golden["verdict"]
            assert said.pred_score == pytest.approx(golden["raw_score"], abs=1e-3)
            assert said.normalized_score == pytest.approx(golden["normalized_score"], abs=1e-4)


@pytest.mark.parametrize("inner", [False, True])
def test_a_store_is_taken_over_with_every_part_word_and_neighbor(
    tmp_path: Path, inner: bool, caplog: pytest.LogCaptureFixture
) -> None:
    old = unpacked("store-0.1.zip", tmp_path) / BUNDLE[:16]
    location = old if inner else tmp_path
    caplog.set_level("INFO", "lineside")
    assert held_at(str(location)) == [Held(BUNDLE, LENGTH)]
    for time_of in range(2):
        with opened(location) as store:
            found = contents(store)
            assert len(found) == len(EXPECTED["parts"])
            for expected in EXPECTED["parts"]:
                part = found[expected["id"]]
                check(part, expected)
                near = store.search(part.embedding, 6)
                assert [hit.similarity for hit in near] == pytest.approx(
                    [value for _, value in expected["neighbours"]], abs=1e-4
                )
                assert near[0].point.point_id == expected["neighbours"][0][0]
            assert store.records.words(EXPECTED["parts"][0]["id"])[0].what == "wrong"
        assert ("were taken over" in caplog.text) == (time_of == 0)
        caplog.clear()
    assert sorted(path.name for path in old.iterdir() if path.name.endswith(".v1")) == [
        "shard.v1",
        "store.json.v1",
    ]
    assert held_at(str(location)) == [Held(BUNDLE, LENGTH)]


_TAKER = """
import sys
from edge_app.records import takeover
from edge_app.store.edge import EdgeStore
from pathlib import Path
takeover._BATCH = 1
EdgeStore(Path(sys.argv[1]), bundle=sys.argv[2], embedding_length=int(sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX")
def test_killed_while_it_is_taken_over(tmp_path: Path) -> None:
    unpacked("store-0.1.zip", tmp_path)
    for share in range(1, 4):
        taker = subprocess.Popen(
            [sys.executable, "-P", "-c", _TAKER, str(tmp_path), BUNDLE, str(LENGTH)]
        )
        while not (tmp_path / "records.db").exists() and taker.poll() is None:
            time.sleep(0.001)
        time.sleep(0.02 * share)
        taker.send_signal(signal.SIGKILL)
        taker.wait()
    with opened(tmp_path) as store:
        found = contents(store)
        assert len(found) == len(EXPECTED["parts"])
        for expected in EXPECTED["parts"]:
            check(found[expected["id"]], expected)


def test_a_word_given_meanwhile_survives_that_it_is_begun_anew(tmp_path: Path) -> None:
    old = unpacked("store-0.1.zip", tmp_path) / BUNDLE[:16]
    with opened(tmp_path) as store:
        part = contents(store)[EXPECTED["parts"][0]["id"]]
        give_word(store, part, "right", "Ada")
    for name in ("shard", "store.json"):
        (old / f"{name}.v1").rename(old / name)
    with opened(tmp_path) as store:
        found = contents(store)[part.point_id]
        assert (found.confirmed, found.confirmed_by) == ("right", "Ada")
        assert store.count() == len(EXPECTED["parts"])


def test_a_damaged_old_store_stays_as_it_is(tmp_path: Path) -> None:
    old = unpacked("store-0.1.zip", tmp_path) / BUNDLE[:16]
    for file in (old / "shard").glob("segments/*/segment.json"):
        file.write_bytes(b"")
    with pytest.raises(StoreError, match=r"expected to read the parts of version 0\.1"):
        opened(tmp_path)
    assert (old / "store.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected readable JSON"),
        ("[]", "expected schema version 1"),
        ('{"schema_version": 2}', "pip install --upgrade"),
        ('{"schema_version": 1}', "bundle"),
    ],
)
def test_a_damaged_or_newer_store_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "store.json").write_text(text)
    with pytest.raises(StoreError, match=message):
        opened(tmp_path)
