"""A vision transformer as a feature extractor: the tokens of any blocks, back on their grid.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; Oquab et al., "DINOv2", TMLR 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import timm
import torch
from timm.layers import resample_abs_pos_embed, set_fused_attn
from torch import nn

from runtime.errors import TrainingError

_PREFIX = "blocks."


def patch_side(backbone: str) -> int:
    """Side of a transformer's patch in pixels."""
    return int(timm.create_model(backbone, pretrained=False).patch_embed.patch_size[0])


class TransformerExtractor(nn.Module):
    """Normalised tokens of some blocks as maps.

    Position embeddings are resampled once, when weights are loaded: the graph knows one size.
    Blocks behind the last one that is read are left out.

    Args:
        backbone: timm's name.
        layers: ``blocks.0``, ``blocks.1``, ...
        size_hw: input height and width in pixels, multiples of the patch's side.

    Raises:
        TrainingError: another size, or no such block.
    """

    def __init__(self, backbone: str, layers: Sequence[str], size_hw: tuple[int, int]) -> None:
        super().__init__()
        side = patch_side(backbone)
        if any(one % side for one in size_hw):
            near = max(side, round(size_hw[0] / side) * side)
            raise TrainingError(
                f"--size: expected a multiple of {side}, the side of a patch of {backbone}, found "
                f"{size_hw[0]} x {size_hw[1]}; try --size {near}"
            )
        # The exported graph spells attention out; so does what it is compared with.
        set_fused_attn(enable=False)
        network = timm.create_model(backbone, pretrained=False, img_size=size_hw, num_classes=0)
        names = [f"{_PREFIX}{index}" for index in range(len(network.blocks))]
        missing = [name for name in layers if name not in names]
        if missing or not layers:
            raise TrainingError(
                f"--layers: expected some of {names[0]} to {names[-1]} for {backbone}, found "
                f"{', '.join(missing) or 'none'}; check the spelling"
            )
        self.layers = list(layers)
        self.places = [int(name.removeprefix(_PREFIX)) for name in layers]
        network.blocks = network.blocks[: max(self.places) + 1]
        self.network = network
        self.grid_hw = (size_hw[0] // side, size_hw[1] // side)

    @property
    def out_dims(self) -> Sequence[int]:
        """Channels of each layer."""
        return [int(self.network.embed_dim)] * len(self.layers)

    def at_size(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A whole transformer's state dict with its position embeddings at this size."""
        positions = state.get("pos_embed")
        if positions is None or positions.ndim != 3:
            return dict(state)
        prefix = self.network.num_prefix_tokens
        resampled = resample_abs_pos_embed(
            positions, list(self.grid_hw), num_prefix_tokens=prefix, antialias=True
        )
        return {**state, "pos_embed": resampled}

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Maps of every layer.

        Args:
            images: float32 (N, 3, H, W), normalised.

        Returns:
            ``{layer: float32 (N, C, h, w)}``.
        """
        network = self.network
        tokens = network.norm_pre(network._pos_embed(network.patch_embed(images)))
        found: dict[str, torch.Tensor] = {}
        for index, block in enumerate(network.blocks):
            tokens = block(tokens)
            if index in self.places:
                patches = network.norm(tokens)[:, network.num_prefix_tokens :]
                maps = patches.transpose(1, 2).reshape(len(images), -1, *self.grid_hw)
                found[f"{_PREFIX}{index}"] = maps
        return {layer: found[layer] for layer in self.layers}
