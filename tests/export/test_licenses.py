"""What a bundle says of the licenses of its weights and pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.licenses import licenses_of

pytestmark = pytest.mark.slow


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, ...]:
    good = tmp_path / "set" / "bottle" / "train" / "good"
    good.mkdir(parents=True)
    return (good / "000.png",)


@pytest.mark.parametrize(
    ("recipe", "known"),
    [
        ({"backbone": "tf_efficientnet_lite0"}, "Apache-2.0 (tf_efficientnet_lite0)"),
        ({"backbone": "resnet18.a1_in1k"}, "apache-2.0 (resnet18.a1_in1k)"),
        ({"backbone": "convnextv2_tiny.fcmae"}, "cc-by-nc-4.0 (convnextv2_tiny.fcmae)"),
        ({"backbone": "of_nobody"}, "not stated (of_nobody)"),
        (
            {"backbone": "resnet18", "backbone_weights": "kept/elsewhere/own.pth"},
            "weights of own.pth",
        ),
        ({"backbone": "tf_efficientnet_lite0", "teacher": "pdn"}, "Apache-2.0 (anomalib's"),
    ],
)
def test_weights(recipe: dict[str, str], known: str, pictures: tuple[Path, ...]) -> None:
    found = licenses_of(recipe, pictures)["weights"]
    assert known in found
    # A path tells of the workstation.
    assert "elsewhere" not in found


def test_pictures_may_be_named_from_their_categorys_own_folder(
    pictures: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    category = pictures[0].parents[2]
    (category.parent / "LICENSE").write_text("CC0\n", encoding="utf-8")
    monkeypatch.chdir(category)
    assert licenses_of({}, (Path("train/good/000.png"),))["data"] == "CC0 (LICENSE)"


def test_data_are_what_their_folder_says(pictures: tuple[Path, ...]) -> None:
    category = pictures[0].parents[2]
    assert licenses_of({}, pictures)["data"].startswith("not stated")
    (category / "license.txt").write_text("\n  CC BY-NC-SA 4.0\nlong text\n", encoding="utf-8")
    assert licenses_of({}, pictures)["data"] == "CC BY-NC-SA 4.0 (license.txt)"
    (category / "sample-data.json").write_text("{}")
    assert licenses_of({}, pictures)["data"].startswith("Apache-2.0 (drawn")


def test_a_plain_folder_does_not_take_a_license_from_above(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("of the repository around it")
    (tmp_path / "parts").mkdir()
    found = licenses_of({}, (tmp_path / "parts" / "1.png",))
    assert found["data"].startswith("not stated")
