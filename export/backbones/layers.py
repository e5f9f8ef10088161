"""Backbones by name and the layers read of them, without the networks."""

from __future__ import annotations

from runtime.errors import TrainingError

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
DINOV2_SMALL = "vit_small_patch14_dinov2.lvd142m"
DEFAULT_LAYERS: dict[str, tuple[str, ...]] = {
    DEFAULT_BACKBONE: ("blocks.2", "blocks.4"),
    "resnet18": ("layer2", "layer3"),
    "wide_resnet50_2": ("layer2", "layer3"),
    # Of the blocks that were tried (docs/recipes.md) these see best; the last ones see things.
    DINOV2_SMALL: ("blocks.5", "blocks.7"),
}
# Projected patches can afford the deepest layer too, which finds faint defects.
PROJECTED_LAYERS: dict[str, tuple[str, ...]] = {
    DEFAULT_BACKBONE: ("blocks.2", "blocks.4", "blocks.6"),
    "tf_efficientnet_lite1": ("blocks.2", "blocks.4", "blocks.6"),
    "tf_efficientnet_lite2": ("blocks.2", "blocks.4", "blocks.6"),
}


def is_transformer(backbone: str) -> bool:
    """Whether timm's backbone of that name is a plain vision transformer."""
    return backbone.startswith("vit_")


def default_layers(backbone: str, *, projected: bool = False) -> tuple[str, ...]:
    """Layers that are read where none are named: strides 8 and 16, or better known ones.

    Args:
        backbone: timm's name.
        projected: whether the stacked layers are projected to fewer dimensions.

    Raises:
        TrainingError: timm has no such backbone, or it has no such layers.
    """
    known = (projected and PROJECTED_LAYERS.get(backbone)) or DEFAULT_LAYERS.get(backbone)
    if known:
        return known
    import timm

    require_known(backbone)
    if is_transformer(backbone):
        depth = len(timm.create_model(backbone, pretrained=False).blocks)
        return tuple(f"blocks.{round(depth * share) - 1}" for share in (1 / 2, 2 / 3))
    info = timm.create_model(backbone, pretrained=False, features_only=True).feature_info
    names = [str(i["module"]) for i in info.get_dicts() if i["reduction"] in (8, 16)]
    if not names:
        raise TrainingError(
            f"backbone {backbone}: no layers of stride 8 and 16 found; name some with --layers"
        )
    return tuple(names)


def require_known(backbone: str) -> None:
    """Refuse a name that timm does not have.

    Raises:
        TrainingError: no such backbone.
    """
    import timm

    if not timm.is_model(backbone):
        close = ", ".join(timm.list_models(f"*{backbone.split('_')[0]}*")[:5]) or DEFAULT_BACKBONE
        raise TrainingError(
            f"backbone {backbone}: expected a timm model, found none of that name; try {close}"
        )
