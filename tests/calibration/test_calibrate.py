"""``lineside calibrate`` on pictures whose scores are known in advance."""

from __future__ import annotations

import dataclasses
import json
import shutil

import cv2
import pytest

from calibration.recalibration import Request, recalibrate
from calibration.scoring import digest_of
from runtime.bundle.folder import Bundle, pack_archive, seal
from runtime.bundle.manifest import LEFT_OUT_SCORES, TRAIN_DIGESTS
from runtime.bundle.thresholds import THRESHOLDS_FILE
from runtime.errors import DataError, HealthError, ThresholdError
from runtime.health.baseline import HEALTH_FILE
from runtime.images.preprocess import load_image
from runtime.inspector import Inspector
from tests.calibration.synthetic import KEYS, good_folder, picture, two_variant_bundle
from tests.cli import lineside


@pytest.fixture
def bundle(tmp_path):
    return two_variant_bundle(tmp_path / "bundle")


def invoke(*arguments):
    return lineside("calibrate", *arguments)


def rows_of(*arguments):
    done = invoke(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def refused(bundle, *arguments):
    """What is said of an error that leaves the thresholds untouched."""
    before = (bundle / THRESHOLDS_FILE).read_bytes()
    done = invoke(bundle, *arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert (bundle / THRESHOLDS_FILE).read_bytes() == before
    return done.stderr.strip().splitlines()[-1]


def test_average_promise_sets_the_order_statistic(bundle, tmp_path):
    """60 parts scoring 1 to 60 and 5 % on average: rank ceil(61 * 0.95) = 58."""
    good = good_folder(tmp_path / "good", list(range(1, 61)))
    rows = rows_of(bundle, "--good", good, "--max-false-rejects", 0.05, "--on-average")
    assert [f"{row['engine']}/{row['precision']}" for row in rows] == list(KEYS)
    for key in KEYS:
        found = Bundle.open(bundle).thresholds().of(key)
        assert found.image_threshold == 58.0
        assert found.method == "conformal"
        assert (found.max_false_rejects, found.confidence, found.n_good) == (0.05, None, 60)
        assert found.median_good_score == 30.5
    assert rows[0]["false_rejects"] == 2
    assert rows[0]["previous_image_threshold"] == 64.0
    assert rows[1]["flips_against_first"] == 0


def test_promise_with_confidence_is_stricter(bundle, tmp_path):
    """60 parts, 5 %, 95 %: 59 are needed, so the highest score is the threshold."""
    good = good_folder(tmp_path / "good", list(range(1, 61)))
    (first, _) = rows_of(bundle, "--good", good, "--max-false-rejects", 0.05)
    assert first["image_threshold"] == 60.0
    assert first["method"] == "tolerance"
    assert (first["max_false_rejects"], first["confidence"], first["n_needed"]) == (0.05, 0.95, 59)


def test_no_good_picture_shows_a_pixel_above_the_pixel_threshold_but_the_allowed_share(
    bundle, tmp_path
):
    good = good_folder(tmp_path / "good", list(range(1, 61)))
    rows_of(bundle, "--good", good, "--max-false-rejects", 0.05, "--on-average")
    with Inspector(bundle) as inspector:
        flagged = 0
        for path in sorted(good.iterdir()):
            found = inspector.inspect(path)
            flagged += bool((found.heat_map() > found.threshold.pixel_threshold).any())
    assert flagged == 2


def test_too_few_pictures_get_the_best_promise_and_the_number_needed(bundle, tmp_path):
    good = good_folder(tmp_path / "good", list(range(1, 31)))
    done = invoke(bundle, "--good", good)
    assert done.returncode == 0
    assert "needs 299 good pictures, found 30" in done.stderr
    found = Bundle.open(bundle).thresholds().of(KEYS[0])
    assert found.image_threshold == 30.0
    assert found.max_false_rejects == pytest.approx(1 - 0.05 ** (1 / 30))
    assert "299 would allow 1%" in found.note


def test_fewer_than_ten_pictures_are_warned_about(bundle, tmp_path):
    done = invoke(bundle, "--good", good_folder(tmp_path / "good", [1, 2, 3]))
    assert done.returncode == 0
    assert "at least 10 good pictures, found 3" in done.stderr


def test_only_the_chosen_variant_changes(bundle, tmp_path):
    good = good_folder(tmp_path / "good", list(range(1, 31)))
    (row,) = rows_of(bundle, "--good", good, "--precision", "fp16")
    assert row["precision"] == "fp16"
    found = Bundle.open(bundle).thresholds()
    assert found.of("openvino/fp16").image_threshold == 30.0
    assert found.of("openvino/fp32").image_threshold == 64.0
    assert [entry["variant"] for entry in found.history] == ["openvino/fp16"]


def test_bad_parts_among_the_good_ones_are_named_and_kept(bundle, tmp_path):
    good = good_folder(tmp_path / "good", [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21])
    picture(good / "scratched.png", 120)
    done = invoke(bundle, "--good", good)
    assert done.returncode == 0
    assert "scratched.png scores like a bad part" in done.stderr
    assert done.stderr.count("suspect:") == 1
    assert Bundle.open(bundle).thresholds().of(KEYS[0]).image_threshold == 120.0


def test_copies_count_once(bundle, tmp_path):
    good = good_folder(tmp_path / "good", list(range(1, 21)))
    for copy in range(5):
        shutil.copy(good / "019.png", good / f"copy{copy}.png")
    done = invoke(bundle, "--good", good)
    assert "copy0.png is a copy of 019.png and counts once" in done.stderr
    assert Bundle.open(bundle).thresholds().of(KEYS[0]).n_good == 20


def test_a_copy_in_another_format_counts_once_too(bundle, tmp_path):
    good = good_folder(tmp_path / "good", list(range(1, 21)))
    cv2.imwrite(str(good / "again.bmp"), cv2.imread(str(good / "003.png")))
    rows_of(bundle, "--good", good)
    assert Bundle.open(bundle).thresholds().of(KEYS[0]).n_good == 20


def record_training_pictures(bundle, folder):
    """Write the digests of a folder's pictures into the bundle's provenance, as training does."""
    digests = [digest_of(load_image(path, (32, 32))) for path in sorted(folder.iterdir())]
    path = bundle / "bundle.json"
    manifest = json.loads(path.read_text())
    manifest["provenance"]["train_digests"] = digests
    path.write_text(json.dumps(manifest))


def test_pictures_that_training_has_seen_are_left_out(bundle, tmp_path):
    learned = good_folder(tmp_path / "learnt", [1, 2, 3])
    record_training_pictures(bundle, learned)
    good = good_folder(tmp_path / "good", list(range(1, 31)))
    done = invoke(bundle, "--good", good)
    assert "3 pictures are left out, for training has seen them; 27 remain" in done.stderr
    assert Bundle.open(bundle).thresholds().of(KEYS[0]).n_good == 27
    assert "training has not seen, found 3 that it has" in refused(bundle, "--good", learned)


def test_learned_pictures_count_with_the_scores_of_a_model_that_had_not_seen_them(bundle, tmp_path):
    """Of 30 parts 20 are learned, whose left-out scores are higher by 10 than those of today."""
    good = good_folder(tmp_path / "good", list(range(1, 31)))
    learned = sorted(good.iterdir())[:20]
    digests = [digest_of(load_image(path, (32, 32))) for path in learned]
    left_out = {one: [score + 10.0, score + 12.0] for score, one in enumerate(digests, 1)}
    with Bundle.open(bundle) as opened:
        manifest = opened.manifest
    provenance = {TRAIN_DIGESTS: digests, LEFT_OUT_SCORES: left_out}
    seal(bundle, dataclasses.replace(manifest, provenance=provenance))
    half = ("--max-false-rejects", 0.5, "--on-average")
    exact, other = rows_of(bundle, "--good", good, *half)
    scores = sorted([*range(11, 31), *range(21, 31)])
    # Both variants are one graph, so a score means the same to both.
    assert exact["image_threshold"] == other["image_threshold"] == scores[15]
    assert (exact["n_good"], exact["n_learnt"], exact["n_left_out_scores"]) == (30, 0, 20)
    assert exact["method"] == "leave_one_out"
    assert "20 learned ones, each scored by a model that had not seen it, and 10" in exact["note"]
    assert "matched" not in exact["note"]
    assert "matched from fp32's" in other["note"]
    # Only what the model in use has scored is a baseline for drift.
    assert sorted(Bundle.open(bundle).health().scores["openvino/fp32"]) == list(range(21, 31))
    # Without fp32 there is nothing to match with.
    (alone,) = rows_of(bundle, "--good", good, "--precision", "fp16", "--force")
    assert (alone["n_good"], alone["n_learnt"]) == (10, 20)


def test_another_part_is_refused_unless_forced(bundle, tmp_path):
    good = good_folder(tmp_path / "good", [100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110])
    error = refused(bundle, "--good", good)
    assert "100% of them score above" in error
    assert "--force" in error
    assert invoke(bundle, "--good", good, "--force").returncode == 0
    assert Bundle.open(bundle).thresholds().of(KEYS[0]).image_threshold == 110.0


def test_a_threshold_set_by_costs_does_not_make_good_parts_look_foreign(bundle, tmp_path):
    """Dear misses put the threshold below most good parts; calibrating again must still work."""
    good = good_folder(tmp_path / "good", list(range(1, 61)))
    bad = good_folder(tmp_path / "bad", [70])
    picture(bad / "faint.png", 5, corner=1)
    rows_of(bundle, "--good", good, "--bad", bad, "--cost-false-reject", 1, "--cost-missed", 10000)
    assert Bundle.open(bundle).thresholds().of(KEYS[0]).image_threshold < 5
    assert rows_of(bundle, "--good", good)[0]["image_threshold"] == 60.0


def test_pictures_that_the_model_was_trained_on_are_warned_about(tmp_path):
    bundle = two_variant_bundle(tmp_path / "bundle", image_threshold=64.0)
    good = good_folder(tmp_path / "good", list(range(20, 41)))
    assert invoke(bundle, "--good", good).returncode == 0
    learned = good_folder(tmp_path / "learnt", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    done = invoke(bundle, "--good", learned)
    assert done.returncode == 0
    assert "use pictures that training has not seen" in done.stderr


def test_labeled_bad_parts_set_best_f1_or_least_cost(bundle, tmp_path):
    good = good_folder(tmp_path / "good", [1, 2, 3, 4, 5, 6, 7, 8, 9, 50])
    bad = good_folder(tmp_path / "bad", [40, 60, 70, 80])
    (by_f1, _) = rows_of(bundle, "--good", good, "--bad", bad)
    assert by_f1["method"] == "f1_max"
    assert 9 <= by_f1["image_threshold"] < 40
    assert (by_f1["false_rejects"], by_f1["misses"]) == (1, 0)
    assert by_f1["max_false_rejects"] is None
    costs = ("--cost-false-reject", 10, "--cost-missed", 1)
    (by_cost, _) = rows_of(bundle, "--good", good, "--bad", bad, *costs)
    assert by_cost["method"] == "cost"
    assert 50 <= by_cost["image_threshold"] < 60
    assert (by_cost["false_rejects"], by_cost["misses"]) == (0, 1)


def test_costs_without_the_lines_share_of_bad_parts_are_warned_about(bundle, tmp_path):
    good, bad = (
        good_folder(tmp_path / "good", list(range(1, 16))),
        good_folder(tmp_path / "bad", [60, 70, 80, 90, 95]),
    )
    costs = ("--good", good, "--bad", bad, "--cost-false-reject", 1, "--cost-missed", 9)
    assert "as there are pictures of, 25%" in invoke(bundle, *costs).stderr
    assert "--bad-share" not in invoke(bundle, *costs, "--bad-share", 0.01).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--cost-missed", 5),
        ("--cost-missed", 5, "--cost-false-reject", 1),
        ("--bad", "x", "--cost-missed", 5),
        ("--bad", "x", "--bad-share", 0.1),
    ],
)
def test_half_given_costs_are_a_usage_error(bundle, arguments):
    done = invoke(bundle, "--good", "x", *arguments)
    assert done.returncode == 2
    assert "--cost-false-reject" in done.stderr


@pytest.mark.parametrize("option", ["--max-false-rejects", "--confidence"])
@pytest.mark.parametrize("value", ["nan", "inf", "0", "1", "-1", "2"])
def test_rates_that_make_no_sense_are_refused(bundle, tmp_path, option, value):
    good = good_folder(tmp_path / "good", [1, 2, 3])
    name = option.strip("-").replace("-", "_")
    assert f"{name}: expected a number between 0 and 1" in refused(
        bundle, "--good", good, option, value
    )


def test_missing_or_unreadable_folders_are_refused(bundle, tmp_path):
    assert "nothing there" in refused(bundle, "--good", tmp_path / "nowhere")
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk/a.png").write_bytes(b"no picture")
    assert "readable pictures" in refused(bundle, "--good", tmp_path / "junk")


def test_a_variant_that_is_not_there_is_refused(bundle, tmp_path):
    assert "openvino/fp16" in refused(bundle, "--good", tmp_path, "--engine", "onnxruntime")


def test_a_packed_bundle_says_how_to_unpack_it(bundle, tmp_path):
    packed = tmp_path / "tile.lineside"
    pack_archive(bundle, packed)
    said = invoke(packed, "--good", tmp_path).line()
    assert f"python -m zipfile -e {packed} {tmp_path / 'tile'}" in said


@pytest.mark.parametrize(
    "damage",
    ["{", '{"schema_version": 1, "variants": {"openvino/fp32": {"image_threshold": NaN}}}', None],
)
def test_a_damaged_thresholds_file_is_replaced_as_the_message_says(bundle, tmp_path, damage):
    good = good_folder(tmp_path / "good", [1, 2, 3])
    file = bundle / THRESHOLDS_FILE
    if damage is None:
        file.unlink()
    else:
        file.write_text(damage)
    with pytest.raises(ThresholdError, match=r"lineside calibrate|calibrate again"):
        Inspector(bundle)
    done = invoke(bundle, "--good", good)
    assert "the thresholds are made anew" in done.stderr
    assert ("the damaged file is kept" in done.stderr) == (damage is not None)
    with Inspector(bundle) as inspector:
        assert inspector.threshold.n_good == 3
    kept = bundle / f".{THRESHOLDS_FILE}.damaged"
    assert kept.read_text() == damage if damage is not None else not kept.exists()


def test_a_damaged_check_of_pictures_is_replaced_as_the_message_says(bundle, tmp_path):
    good = good_folder(tmp_path / "good", range(1, 31))
    (bundle / HEALTH_FILE).write_text("{")
    with pytest.raises(HealthError, match="lineside calibrate"):
        Inspector(bundle)
    assert "the damaged check of pictures is replaced" in invoke(bundle, "--good", good).stderr
    with Inspector(bundle) as inspector:
        assert inspector.health is not None


def test_a_folder_that_cannot_be_written_keeps_the_old_thresholds(bundle, tmp_path, monkeypatch):
    """A full disk, which a test cannot fill: making the temporary file fails."""
    import tempfile

    good = good_folder(tmp_path / "good", [1, 2, 3])
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(tempfile, "mkstemp", lambda **_: (_ for _ in ()).throw(full))
    assert "No space left" in refused(bundle, "--good", good)


def test_a_picture_cannot_be_good_and_bad(bundle, tmp_path):
    good = good_folder(tmp_path / "good", list(range(1, 21)))
    bad = good_folder(tmp_path / "bad", [90])
    picture(bad / "again.png", 7)
    problem = refused(bundle, "--good", good, "--bad", bad)
    assert "again.png (as " in problem
    assert "006.png" in problem


def test_a_bad_part_that_training_has_learned_as_good_is_named(bundle, tmp_path):
    bad = good_folder(tmp_path / "bad", [90, 100])
    with Bundle.open(bundle) as opened:
        manifest = opened.manifest
    learned = digest_of(load_image(bad / "001.png", manifest.input.size_hw))
    seal(
        bundle,
        dataclasses.replace(manifest, provenance={**manifest.provenance, TRAIN_DIGESTS: [learned]}),
    )
    good = good_folder(tmp_path / "good", list(range(1, 21)))
    problem = refused(bundle, "--good", good, "--bad", bad)
    assert "found 1 that are among the good ones" in problem
    assert "001.png (which training has learned as good)" in problem


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--max-false-rejects", 7), "max_false_rejects: expected a number between 0 and 1"),
        (("--max-false-rejects", 1e-320), "at least 1e-09"),
        ((), "expected good parts of the kind"),
    ],
)
def test_what_calibration_refuses_is_refused_before_int8_is_added(
    bundle, tmp_path, arguments, expected
):
    good = good_folder(tmp_path / "good", list(range(80, 120)))
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    done = invoke(bundle, "--good", good, "--int8", *arguments)
    assert done.returncode == 1
    assert expected in done.stderr
    assert "quantising" not in done.stderr
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before


def test_an_average_has_no_confidence(bundle, tmp_path):
    done = invoke(bundle, "--good", tmp_path, "--on-average", "--confidence", 0.9)
    assert done.returncode == 2
    assert "found both" in done.stderr


def test_from_python_pictures_may_be_paths(bundle, tmp_path):
    good = sorted(good_folder(tmp_path / "good", list(range(1, 31))).iterdir())
    found = recalibrate(bundle, Request(good, 0.05, None, precision="fp16"))
    assert [one.variant for one in found.variants] == ["openvino/fp16"]
    assert found.good.paths == tuple(good)
    assert found.variants[0].threshold.image_threshold == 30.0
    with pytest.raises(DataError, match="30 pictures: expected pictures that training has not"):
        record_training_pictures(bundle, tmp_path / "good")
        recalibrate(bundle, Request(good))
