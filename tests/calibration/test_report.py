"""The report: figures, pictures, escaping, and a file that needs nothing else."""

from __future__ import annotations

import base64
import os
import re
import sys
from dataclasses import replace
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.evaluation import evaluate
from calibration.report.charts import curve, histogram, ticks
from calibration.report.gallery import gallery, neighbors
from calibration.report.page import Chapter, render, summary_table
from calibration.scoring import digest_of
from runtime.bundle.folder import Bundle, seal
from runtime.bundle.manifest import TRAIN_DIGESTS
from runtime.console import percent
from runtime.images.dataset import load_category
from runtime.images.preprocess import load_image
from runtime.inspector import Inspector
from tests.calibration.synthetic import data_root, picture, two_variant_bundle
from tests.cli import lineside

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def bundle(tmp_path):
    return two_variant_bundle(tmp_path / "bundle")


def report(*arguments):
    return lineside("report", *arguments)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_a_file_name_that_is_no_utf8_and_learned_pictures_are_told(bundle, tmp_path):
    root, out = data_root(tmp_path / "data"), tmp_path / "report.html"
    scratch = root / "tile" / "test" / "scratch"
    (scratch / os.fsdecode(b"\xe4.png")).write_bytes((scratch / "0.png").read_bytes())
    learned = digest_of(load_image(scratch / "0.png", (32, 32)))
    with Bundle.open(bundle) as opened:
        manifest = opened.manifest
    seal(bundle, replace(manifest, provenance={**manifest.provenance, TRAIN_DIGESTS: [learned]}))
    assert report(bundle, "--data", root, "--out", out).returncode == 0
    page = out.read_text(encoding="utf-8")
    assert "scratch/\ufffd.png" in page
    assert "7 anomalous parts, 2 of which the model has learnt" in page


def test_one_file_with_every_section(bundle, tmp_path):
    out = tmp_path / "report.html"
    done = report(bundle, "--data", data_root(tmp_path / "data"), "--out", out, "--all-variants")
    assert done.returncode == 0
    assert done.stdout.strip() == str(out)
    page = out.read_text(encoding="utf-8")
    assert (
        page.index("Image AUROC by category") < page.index("All figures") < page.index("By defect")
    )
    for expected in (
        "PatchCore",
        "0.944",
        "best misses",
        "Misses, lowest score first",
        "1 of 1",
        "openvino/fp16",
        "scratch/0.png",
    ):
        assert expected in page
    # Nothing is loaded from anywhere: every source is data, and no link leaves the file.
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "<script" not in page


def test_pictures_are_the_part_its_truth_and_its_heat_map(bundle, tmp_path):
    out = tmp_path / "report.html"
    report(bundle, "--data", data_root(tmp_path / "data"), "--out", out, "--pictures", 1)
    encoded = re.findall(r'src="data:image/jpeg;base64,([^"]+)" alt="([^"]+)"', out.read_text())
    pictures = {}
    for data, name in encoded:
        image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        pictures.setdefault(name, image)
    assert set(pictures) == {"part", "ground truth", "heat map", "query", "neighbour"}
    # One miss, no false alarm, one hit of six; and one part with its five neighbours.
    assert [sum(alt == name for _, alt in encoded) for name in pictures] == [2, 2, 2, 1, 5]
    magenta = pictures["ground truth"].astype(int)
    assert (magenta[:, :, 0] - magenta[:, :, 1]).max() > 60
    part = pictures["part"].astype(int)
    assert np.ptp(part, axis=2).max() < 20


def test_names_from_disk_and_from_bundles_are_escaped(bundle, tmp_path):
    root = data_root(tmp_path / "data")
    picture(root / "tile" / "test" / "<img src=x onerror=alert(1)>" / "a&b<b>.png", 20)
    manifest = bundle / "bundle.json"
    manifest.write_text(manifest.read_text().replace('"tile-tiny"', f'"{EVIL}"'))
    thresholds = bundle / "thresholds.json"
    thresholds.write_text(thresholds.read_text().replace('"note": ""', f'"note": "{EVIL}"'))
    assert lineside("thresholds", bundle, "seal").returncode == 0
    out = tmp_path / "report.html"
    assert report(bundle, "--data", root, "--out", out).returncode == 0
    page = out.read_text()
    assert "<script>" not in page
    assert "<img src=x" not in page
    assert "<b>.png" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 2
    assert "a&amp;b&lt;b&gt;.png" in page


def test_one_class_alone_still_makes_a_page(bundle, tmp_path):
    root = tmp_path / "data"
    for index in range(3):
        picture(root / "tile/test/good" / f"{index}.png", index)
        picture(root / "tile/train/good" / f"{index}.png", index)
    out = tmp_path / "report.html"
    assert report(bundle, "--data", root, "--out", out).returncode == 0
    assert "one class is missing" in out.read_text()


def test_a_missing_target_folder_is_told_before_the_work(bundle, tmp_path):
    done = report(bundle, "--data", tmp_path, "--out", tmp_path / "no/report.html")
    assert "--out" in done.line()


def test_summary_has_a_column_for_each_model_and_the_average_of_each():
    rows = [
        {"model": model, "category": category, "image_auroc": value}
        for model, category, value in [
            ("efficientad", "tile", 0.9),
            ("patchcore", "tile", 1.0),
            ("patchcore", "grid", 0.8),
            ("patchcore", "grid", 0.6),
            ("other", "tile", None),
        ]
    ]
    table = summary_table(rows)
    assert table["models"] == ["patchcore", "efficientad", "other"]
    assert table["average"] == [pytest.approx(0.8), pytest.approx(0.9), None]
    values = [[cell and cell["image_auroc"] for cell in line["cells"]] for line in table["lines"]]
    assert [line["category"] for line in table["lines"]] == ["grid", "grid", "tile"]
    assert values == [[0.8, None, None], [0.6, None, None], [1.0, 0.9, None]]


finite = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(st.booleans(), finite), min_size=1, max_size=30), finite)
def test_histogram_is_well_formed_and_shows_every_part(pairs, threshold):
    labels = np.array([label for label, _ in pairs])
    scores = np.array([score for _, score in pairs])
    drawn = ET.fromstring(histogram(labels, scores, threshold))
    bars = [element for element in drawn.iter() if element.tag.endswith("rect")]
    assert bars
    for bar in bars:
        assert float(bar.get("height")) >= 0
        assert 0 <= float(bar.get("x")) <= 340


def test_curve_ends_where_the_points_do():
    drawn = ET.fromstring(
        curve(np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0]), "a", "b", (0.5, float("nan")))
    )
    (line,) = (element for element in drawn.iter() if element.tag.endswith("polyline"))
    points = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
    assert points[0][0] == points[1][0] < points[2][0]
    assert points[0][1] > points[1][1] == points[2][1]
    assert not [element for element in drawn.iter() if element.tag.endswith("circle")]


@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e5))
def test_ticks_are_inside_and_few(low, width):
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 12
    slack = 1e-6 * max(abs(low), width, 1.0)
    assert all(low - slack <= tick <= low + width + slack for tick in found)


def test_neighbors_are_those_of_a_plain_loop(bundle, tmp_path):
    with Inspector(bundle) as inspector:
        seen = evaluate(inspector, load_category(data_root(tmp_path / "data"), "tile"))
    found = neighbors(seen, 9)
    assert found is not None
    names = [f"{part.path.parent.name}/{part.path.name}" for part in seen.parts]
    for query, *near in found.rows:
        place = names.index(query.name)
        expected = sorted(
            (float(-(seen.embeddings[place] @ seen.embeddings[other])), other)
            for other in range(len(names))
            if other != place
        )
        assert [one.similarity for one in near] == pytest.approx(
            [-value for value, _ in expected[:5]]
        )
        assert query.name not in [one.name for one in near]
    flagged = np.flatnonzero(seen.scores > seen.threshold.image_threshold)
    assert found.n_flagged == len(flagged) > 0
    assert {row[0].defect_type for row in found.rows} == {
        "good",
        *(seen.parts[i].defect_type for i in flagged),
    }


def test_parts_that_cannot_be_judged_are_counted_apart_everywhere(bundle, tmp_path):
    root = data_root(tmp_path / "data")
    with Inspector(bundle) as inspector:
        whole = evaluate(inspector, load_category(root, "tile"))
        # The highest good part, which is passed, a miss and a hit.
        out = {"good/005.png", "scratch/0.png", "dent/2.png"}
        reasons = tuple(
            "too dark" if f"{part.path.parent.name}/{part.path.name}" in out else ""
            for part in whole.parts
        )
        found = replace(whole, reasons=reasons)
        groups = gallery(found, inspector, 9)
    assert sum(map(bool, reasons)) == 3
    assert {group.title.split(",")[0]: group.total for group in groups} == {
        "Misses": 0,
        "False alarms": 0,
        "Hits": 4,
    }
    assert not {shown.name for group in groups for shown in group.pictures} & out
    near = neighbors(found, 9)
    assert near.n_flagged == 4
    assert not {row[0].name for row in near.rows} & out
    page = render([Chapter(found, groups, near)], "data")
    text = re.sub(r"<[^>]+>", " ", page)
    assert "3 that cannot be judged" in text
    assert "3 whose pictures cannot be judged are shown to a person" in text
    # Of five good parts none, of four bad ones none: the rates are over those that got a verdict.
    bounds = [1 - 0.05 ** (1 / count) for count in (5, 4)]
    for bound in bounds:
        assert f"0%, at most {percent(bound)}" in text
