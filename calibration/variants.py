"""Choosing among a bundle's variants."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.bundle.manifest import Manifest, Variant
from runtime.errors import BundleError


def choose_variants(
    manifest: Manifest, engine: str | None, precision: str | None
) -> Sequence[Variant]:
    """Variants of a bundle that match; all if nothing is asked for.

    Raises:
        BundleError: none matches; the message lists those there are.
    """
    chosen = [
        one
        for one in manifest.variants
        if engine in (None, one.engine) and precision in (None, one.precision)
    ]
    if not chosen:
        have = ", ".join(one.key for one in manifest.variants)
        raise BundleError(
            f"bundle '{manifest.name}': expected the variant "
            f"{engine or 'any'}/{precision or 'any'}, found {have}; "
            "choose one of these with --engine and --precision"
        )
    return chosen
