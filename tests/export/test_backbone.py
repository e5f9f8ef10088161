"""Backbones: packaged weights, normalisation, weight files of every wrong kind."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from export.backbones.extractors import (
    fill,
    load_state_dict,
    make_extractor,
    normalization_of,
    weights_of,
)
from export.backbones.layers import default_layers
from runtime.errors import TrainingError
from runtime.images.preprocess import resize

pytestmark = pytest.mark.slow


def test_normalization_belongs_to_the_backbone():
    assert normalization_of("tf_efficientnet_lite0").mean == (0.5, 0.5, 0.5)
    assert normalization_of("resnet18").mean == pytest.approx((0.485, 0.456, 0.406))


def test_packaged_weights_make_a_working_classifier():
    """The mapping is by order; a wrong one would load (shapes repeat) and compute nonsense."""
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    model.load_state_dict(weights_of("tf_efficientnet_lite0", None))
    flower = resize(load_sample_image("flower.jpg"), (224, 224))
    batch = torch.from_numpy(flower).permute(2, 0, 1)[None].float() / 127.5 - 1.0
    with torch.no_grad():
        best = int(model.eval()(batch).argmax())
    # ImageNet has two flowers: 985, daisy, and 986, yellow lady's slipper.
    assert best == 985


def test_features_equal_the_whole_model_s():
    weights = weights_of("tf_efficientnet_lite0", None)
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    whole.load_state_dict(weights)
    extractor = make_extractor("tf_efficientnet_lite0", ("blocks.2", "blocks.4"), None)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        hidden = whole.eval().conv_stem(image)
        hidden = whole.bn1(hidden)
        expected = {}
        for index, block in enumerate(whole.blocks):
            hidden = block(hidden)
            expected[f"blocks.{index}"] = hidden
        found = extractor(image)
    for layer in ("blocks.2", "blocks.4"):
        torch.testing.assert_close(found[layer], expected[layer])


@pytest.mark.parametrize(
    ("backbone", "layers"),
    [
        ("resnet18", ("layer2", "layer3")),
        pytest.param("wide_resnet50_2", ("layer2", "layer3")),
    ],
)
def test_any_timm_backbone_from_a_weight_file(
    tmp_path: Path, backbone: str, layers: tuple[str, ...]
):
    torch.manual_seed(1)
    state = timm.create_model(backbone, pretrained=False).state_dict()
    file = tmp_path / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, file)
    assert default_layers(backbone) == layers
    extractor = make_extractor(backbone, layers, file)
    loaded = extractor.feature_extractor.state_dict()
    assert torch.equal(loaded["conv1.weight"], state["conv1.weight"])


def test_default_layers_of_an_unlisted_backbone_have_stride_8_and_16():
    assert len(default_layers("mobilenetv3_small_100")) == 2


def test_unknown_backbone_suggests_others():
    with pytest.raises(TrainingError, match="resnet"):
        normalization_of("resnet_does_not_exist")


def test_weights_of_another_architecture_are_refused(tmp_path: Path):
    file = tmp_path / "other.pth"
    torch.save(timm.create_model("resnet18", pretrained=False).state_dict(), file)
    with pytest.raises(TrainingError, match="--backbone-weights"):
        make_extractor("tf_efficientnet_lite0", ("blocks.2",), file)


def test_nan_weights_are_refused():
    model = timm.create_model("resnet18", pretrained=False)
    state = model.state_dict()
    state["conv1.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(TrainingError, match="finite"):
        fill(timm.create_model("resnet18", pretrained=False), state, "test")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"\x80\x04\x95"])
def test_unreadable_weight_files(tmp_path: Path, content: bytes):
    for suffix in (".pth", ".safetensors"):
        file = tmp_path / f"weights{suffix}"
        file.write_bytes(content)
        with pytest.raises(TrainingError, match="expected a state dict"):
            load_state_dict(file)


def test_missing_weight_file(tmp_path: Path):
    with pytest.raises(TrainingError, match="nothing there"):
        load_state_dict(tmp_path / "none.pth")


def test_pickled_code_is_never_run(tmp_path: Path):
    file = tmp_path / "evil.pth"
    torch.save({"weight": Path("x")}, file)  # any object that is no tensor
    with pytest.raises(TrainingError):
        load_state_dict(file)
