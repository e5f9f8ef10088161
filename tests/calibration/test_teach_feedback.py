"""A bundle that goes on learning from operators' words."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.scoring import learned_digests, left_out_scores
from calibration.teaching import looking
from calibration.teaching.feedback import Grown, teach_from_feedback
from calibration.teaching.growing import grow, least_distance
from calibration.teaching.looking import look_at
from edge_app.fingerprint import bundle_fingerprint
from edge_app.indexing import make_point
from edge_app.records import Database, PartRecords
from edge_app.store.schema import checked_point
from runtime.bundle.folder import Bundle
from runtime.bundle.golden import verify
from runtime.errors import StoreError, TrainingError
from runtime.images.preprocess import decode_rgb
from runtime.inspector import Inspector
from tests.calibration.teachable import COUNT, pictures, write_pictures
from tests.cli import lineside

pytestmark = pytest.mark.slow

SLOW = pytest.mark.slow


def marked(count: int, seed: int) -> np.ndarray:
    """Good parts with a harmless bright label at their corner."""
    found = pictures(count, seed)
    found[:, 4:16, 4:20] = 230
    return found


def scratched(count: int, seed: int) -> np.ndarray:
    """Defective parts."""
    found = pictures(count, seed)
    noise = np.random.default_rng(seed).integers(90, 170, size=(count, 16, 16, 3))
    found[:, 30:46, 30:46] = noise
    return found


class Records:
    """The records of a box beside the pictures of its parts."""

    def __init__(self, root: Path, bundle: Path, store: Path | None = None) -> None:
        self.root, self.store = root, store or root / "store"
        self.inspector = Inspector(bundle)
        self.database = Database(self.store, durable=False)
        length = self.inspector.bundle.manifest.outputs.embedding_length
        self.bundle = bundle_fingerprint(self.inspector.bundle)
        self.parts = PartRecords(self.database, self.bundle, length)
        self.length, self.number = length, 0

    def add(self, images: np.ndarray, word: str = "", ending: str = "png") -> list[Path]:
        """Judge parts, record them, and give a word on each."""
        paths = []
        for image in images:
            path = self.root / f"{self.number:03}.{ending}"
            cv2.imwrite(str(path), image[:, :, ::-1])
            content = path.read_bytes()
            shown = decode_rgb(content)
            found = self.inspector.inspect(shown)
            point = make_point(
                found, content, shown, bundle=self.bundle, category="stripes", path=path
            )
            point = type(point)(
                **{
                    **vars(point),
                    "confirmed": word,
                    "confirmed_at": point.time if word else "",
                    "time": f"2026-01-01T00:{self.number // 60:02}:{self.number % 60:02}+00:00",
                }
            )
            self.parts.merge([checked_point(point, self.bundle, self.length)])
            self.number += 1
            paths.append(path)
        return paths

    def close(self) -> None:
        self.inspector.close()
        self.database.close()


@pytest.fixture
def records(taught: Path, tmp_path: Path):
    made = Records(tmp_path, taught)
    yield made
    made.close()


@pytest.fixture(scope="module")
def grown(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Grown, Path, Records]:
    root = tmp_path_factory.mktemp("grown")
    made = Records(root, taught)
    made.add(pictures(8, 50))
    made.add(marked(8, 60), "wrong")
    made.add(scratched(4, 70), "right")
    made.add(pictures(2, 80), "right")
    made.add(scratched(1, 71))
    found = teach_from_feedback(taught, str(made.store), root / "new")
    made.close()
    return found, root / "new", made


@SLOW
def test_false_alarms_are_learned_and_confirmed_defects_are_found(
    grown: tuple[Grown, Path, Records], taught: Path
) -> None:
    found, new, _ = grown
    trial = found.trial
    assert (trial.good, trial.rejected_before) == (10, 8)
    assert trial.rejected_after <= 1
    assert (trial.defective, trial.found_before, trial.found_after) == (4, 4, 4)
    assert (trial.unsaid, trial.flagged_before) == (9, 1)
    assert trial.lost == ()
    assert trial.to_good == 8 - trial.rejected_after + 1 - trial.flagged_after + trial.to_anomalous
    assert len(found.taken) == 10
    assert all(one.holds for one in verify(new))
    with Inspector(taught) as before, Inspector(new) as after:
        for image in marked(6, 90):
            assert before.inspect(image).verdict == "anomalous"
        assert sum(after.inspect(one).verdict == "good" for one in marked(12, 91)) >= 10
        assert all(after.inspect(one).verdict == "anomalous" for one in scratched(6, 92))


@SLOW
def test_the_new_bundle_keeps_what_was_known_before(
    grown: tuple[Grown, Path, Records], taught: Path
) -> None:
    found, new, _ = grown
    with Bundle.open(taught) as before, Bundle.open(new) as after:
        assert learned_digests(before) < learned_digests(after)
        assert len(learned_digests(after)) == len(left_out_scores(after)) == COUNT + 10
        assert after.manifest.category == "stripes"
        assert after.manifest.provenance["from_feedback"]["parts"] == 10
        old, health = before.health(), after.health()
        assert old is not None
        assert health is not None
        assert health.limits == old.limits
        assert after.manifest.model_fingerprint() != before.manifest.model_fingerprint()
        budget = after.manifest.recipe["max_prototypes"]
    # Full before, so what came in has put others out.
    assert found.prototypes == found.prototypes_before == budget
    assert found.left > 0


@SLOW
def test_words_on_what_the_bundle_before_has_judged_count_still(
    grown: tuple[Grown, Path, Records], tmp_path: Path
) -> None:
    first, new, made = grown
    with pytest.raises(TrainingError, match="10 on parts that are learned already"):
        teach_from_feedback(new, str(made.store), None)
    again = Records(tmp_path, new, made.store)
    again.add(marked(2, 95), "right")
    found = teach_from_feedback(new, str(made.store), None)
    again.close()
    assert (len(found.taken), found.known) == (2, 10)
    assert (found.trial.defective, found.trial.found_before, found.trial.found_after) == (4, 4, 4)
    assert found.trial.unsaid == first.trial.unsaid
    # By the scores that the new bundle gives them, which has learned their like.
    assert found.trial.rejected_before == 0


@SLOW
def test_refused_where_a_confirmed_defect_would_pass(
    records: Records, taught: Path, tmp_path: Path
) -> None:
    records.add(pictures(8, 50), "right")
    same = scratched(1, 70)[0]
    rng = np.random.default_rng(0)
    noisy = np.clip(same + rng.normal(0, 1.5, (8, *same.shape)), 0, 255).astype(np.uint8)
    records.add(noisy[:6], "wrong")
    bad = records.add(noisy[6:], "right")
    with pytest.raises(TrainingError, match="2 would pass") as refused:
        teach_from_feedback(taught, str(records.store), tmp_path / "new")
    assert bad[0].name in str(refused.value)
    assert not (tmp_path / "new").exists()


@SLOW
def test_of_two_words_on_one_picture_the_defect_counts(
    records: Records, taught: Path, tmp_path: Path
) -> None:
    picture = scratched(1, 70)
    records.add(picture, "wrong", "bmp")
    records.add(picture, "right", "png")
    records.add(marked(2, 60), "wrong")
    found = teach_from_feedback(taught, str(records.store), None)
    assert (len(found.taken), found.trial.defective, found.trial.found_after) == (2, 1, 1)


@SLOW
def test_the_command_says_it_in_a_table_and_in_json(
    records: Records, taught: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new"
    arguments = ("teach", taught, "--from-feedback", records.store, "--out", out)
    assert "found none (0 words on parts without a picture" in lineside(*arguments).line()
    gone = records.add(marked(3, 60), "wrong")
    gone[0].unlink()
    done = lineside(*arguments, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split()[-4:] == ["stopped", "2", "2", "0"]
    assert "1 parts whose picture is gone" in done.stderr
    assert "nothing was written" in done.stderr
    assert not out.exists()
    said = json.loads(lineside(*arguments, "--json").stdout)
    assert (said["taken"], said["without_picture"], said["path"]) == (2, 1, str(out))
    assert all(one.holds for one in verify(out))
    assert "never overwritten" in lineside(*arguments).line()


@SLOW
@pytest.mark.parametrize("words", [("--good", "x", "--from-feedback", "y"), (), ("--good", "x")])
def test_it_takes_either_a_folder_or_records(taught: Path, words: tuple[str, ...]) -> None:
    assert lineside("teach", taught, *words, "--out", "z").returncode == 2


@SLOW
def test_what_is_no_record_says_so(taught: Path, tmp_path: Path) -> None:
    for place in (str(tmp_path), "http://box:6333"):
        with pytest.raises(StoreError, match="expected a folder with the records of a box"):
            teach_from_feedback(taught, place, None)


def by_hand(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distance of each point to the nearest of others."""
    return np.linalg.norm(points[:, None] - others[None], axis=2).min(axis=1)


@pytest.mark.parametrize("budget", [0, 20, 26, 1000])
def test_a_grown_bank_covers_old_and_new_within_its_budget(budget: int) -> None:
    rng = np.random.default_rng(3)
    bank = rng.normal(size=(20, 4)).astype(np.float32)
    near = bank[:16] + 1e-4
    far = rng.normal(5.0, 1.0, size=(16, 4)).astype(np.float32)
    patches = np.stack([near, far]).astype(np.float32)
    both, places = grow(bank, patches, budget)
    rows = both.reshape(-1, 4)
    np.testing.assert_array_equal(rows[: 2 * 16], patches.reshape(-1, 4))
    np.testing.assert_array_equal(rows[32:52], bank)
    new = rows[places]
    assert len(np.unique(places)) == len(places) == min(max(budget, 20), 36)
    # What the bank knew teaches it nothing.
    assert not set(places) & set(range(16))
    radius = by_hand(np.concatenate([bank, far]), new).max()
    assert radius == 0 if budget == 1000 else radius <= by_hand(far, bank).max()


def test_the_least_distance_is_that_of_the_nearest_two() -> None:
    rng = np.random.default_rng(0)
    bank = rng.normal(size=(1500, 3)).astype(np.float32)
    apart = np.linalg.norm(bank[:, None] - bank[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert least_distance(bank) == pytest.approx(apart.min(), rel=1e-3)
    assert least_distance(bank[:1]) == 0.0


@SLOW
def test_a_bad_part_among_five_good_ones_is_a_suspect(base: Path, tmp_path: Path) -> None:
    found = look_at(base, write_pictures(tmp_path / "five", [*pictures(5), *scratched(1, 70)]))
    assert [one.name for one in found.pictures if one.suspect] == ["005.png"]
    assert found.pictures[0].novelty is None
    assert all(one.novelty is not None for one in found.pictures[1:])
    assert not found.enough


@SLOW
def test_pictures_of_another_part_among_good_ones_are_suspects(base: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    other = [np.kron(rng.integers(0, 255, (8, 8, 3)), np.ones((8, 8, 1))) for _ in range(2)]
    mixed = [*pictures(10), *(one.astype(np.uint8) for one in other)]
    found = look_at(base, write_pictures(tmp_path / "mixed", mixed))
    assert [one.name for one in found.pictures if one.suspect] == ["010.png", "011.png"]


@SLOW
def test_a_line_says_when_new_pictures_teach_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the toy network's six dimensions twice as many are nearer by 2 ** (1 / 6), whatever they
    # show.
    monkeypatch.setattr(looking, "_LITTLE", 0.2)
    rng = np.random.default_rng(0)
    turns = [pictures(1, seed)[0] for seed in range(3)] * 10
    noisy = (one + rng.normal(0, 2.0, one.shape) for one in turns)
    alike = [np.clip(one, 0, 255).astype(np.uint8) for one in noisy]
    few = look_at(base, write_pictures(tmp_path / "few", pictures(6)))
    many = look_at(base, write_pictures(tmp_path / "many", alike))
    assert many.gain == pytest.approx(1 - 2 ** (-1 / 6), abs=0.05)
    assert many.enough
    assert not few.enough
    # Of three kinds each is new once.
    novelty = np.array([one.novelty for one in many.pictures[1:]], np.float64)
    assert novelty[:2].min() > 1.5
    assert novelty[-9:].mean() == pytest.approx(1.0, abs=0.15)


@SLOW
def test_two_bad_parts_alike_do_not_vouch_for_one_another(base: Path, tmp_path: Path) -> None:
    bad = scratched(1, 70)[0]
    twin = np.clip(bad.astype(np.int16) + 2, 0, 255).astype(np.uint8)
    found = look_at(base, write_pictures(tmp_path / "twins", [*pictures(12), bad, twin]))
    assert [one.name for one in found.pictures if one.suspect] == ["012.png", "013.png"]


@SLOW
def test_where_more_is_learned_what_the_bundle_knows_is_not_new(
    taught: Path, good: Path, tmp_path: Path
) -> None:
    mixed = write_pictures(tmp_path / "more", [*pictures(4, 90), *marked(1, 91)])
    done = lineside("teach", taught, "--good", mixed, "--look", "--add", "--json")
    assert done.returncode == 0, done.stderr
    novelty = [one["novelty"] for one in json.loads(done.stdout)["pictures"]]
    # In units of what its own parts scored unseen, the first one, too.
    with Bundle.open(taught) as bundle, Inspector(taught) as inspector:
        usual = bundle.thresholds().of("openvino/fp32").median_good_score
        first = inspector.inspect(mixed / "000.png").pred_score
    assert novelty[0] == pytest.approx(first / usual, rel=1e-2)
    assert max(novelty[:4]) < 1.5 < novelty[4]
    # Exactly what it has learned teaches it least of all.
    known = look_at(taught, good, add=True)
    assert max(one.novelty or 0.0 for one in known.pictures) < 1.0
    alone = look_at(taught, good)
    assert known.gain is not None
    assert alone.gain is not None
    assert known.gain < alone.gain


@SLOW
def test_what_cannot_be_compared_is_named(base: Path, tmp_path: Path) -> None:
    place = write_pictures(tmp_path / "good", [pictures(1)[0]] * 3)
    (place / "x.png").write_bytes(b"no picture")
    done = lineside("teach", base, "--good", place, "--look")
    assert done.returncode == 0, done.stderr
    assert "cannot be read: x.png" in done.stderr
    assert "2 exact repeats" in done.stderr
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["000.png"]
