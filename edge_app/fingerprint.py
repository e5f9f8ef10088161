"""Which model made a descriptor: a fingerprint over the bundle's model files."""

from __future__ import annotations

from runtime.bundle.folder import Bundle


def bundle_fingerprint(bundle: Bundle) -> str:
    """Fingerprint of the network in a bundle, the same wherever the bundle is copied or unpacked.

    It covers the files of the fp32 variants. Thresholds are edited on the box and an INT8 variant
    is added later: neither changes what earlier descriptors mean, so neither may cut a box off from
    its memory. A new training gives another fingerprint, because its descriptors live in another
    space.

    Args:
        bundle: an open, verified bundle.

    Returns:
        sha256 in hex over the sorted names, sizes and hashes of the model files.
    """
    return bundle.manifest.model_fingerprint()
