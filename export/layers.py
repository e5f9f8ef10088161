"""Which layers of a backbone are read where none are named; apart from the networks, so that a recipe is checked at once."""

from __future__ import annotations

from runtime.errors import TrainingError

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
DEFAULT_LAYERS: dict[str, tuple[str, ...]] = {
    DEFAULT_BACKBONE: ("blocks.2", "blocks.4"),
    "resnet18": ("layer2", "layer3"),
    "wide_resnet50_2": ("layer2", "layer3"),
}
# PatchCore with a projection can afford the deepest layer too, which finds faint defects.
PATCHCORE_LAYERS: dict[str, tuple[str, ...]] = {
    DEFAULT_BACKBONE: ("blocks.2", "blocks.4", "blocks.6")
}


def patchcore_layers(backbone: str, *, projected: bool) -> tuple[str, ...]:
    """Layers that PatchCore reads where none are named.

    Args:
        backbone: timm's name.
        projected: whether the stacked layers are projected to fewer dimensions.
    """
    found = PATCHCORE_LAYERS.get(backbone) if projected else None
    return found or default_layers(backbone)


def default_layers(backbone: str) -> tuple[str, ...]:
    """Strides 8 and 16 of the network.

    Raises:
        TrainingError: timm has no such backbone, or it has no such layers.
    """
    if backbone in DEFAULT_LAYERS:
        return DEFAULT_LAYERS[backbone]
    import timm

    from export.backbone import require_known

    require_known(backbone)
    info = timm.create_model(backbone, pretrained=False, features_only=True).feature_info
    names = [str(i["module"]) for i in info.get_dicts() if i["reduction"] in (8, 16)]
    if not names:
        raise TrainingError(
            f"backbone {backbone}: no layers of stride 8 and 16 found; name some with --layers"
        )
    return tuple(names)
