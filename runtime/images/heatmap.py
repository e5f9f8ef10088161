"""From the map at feature resolution to what a person looks at. Costs nothing when nobody looks."""

from __future__ import annotations

import cv2
import numpy as np

from runtime.types import Float32Map, UInt8Image


def upsample_map(
    anomaly_map: Float32Map, size_hw: tuple[int, int], blur_sigma: float
) -> Float32Map:
    """Bring an anomaly map to image size as anomalib does: bilinear, then Gaussian blur.

    Args:
        anomaly_map: float32 (h, w), raw values at feature resolution; pixels meet at half-pixel
            centres.
        size_hw: target height and width.
        blur_sigma: standard deviation of the blur in target pixels; 0 for none. The kernel spans
            four deviations to each side with reflected borders, as in anomalib's
            ``GaussianBlur2d``.

    Returns:
        float32 (height, width), raw values.
    """
    height, width = size_hw
    grown = cv2.resize(anomaly_map, (width, height), interpolation=cv2.INTER_LINEAR)
    if blur_sigma > 0:
        kernel = 2 * int(4.0 * blur_sigma + 0.5) + 1
        grown = cv2.GaussianBlur(
            grown, (kernel, kernel), blur_sigma, borderType=cv2.BORDER_REFLECT_101
        )
    return np.asarray(grown, dtype=np.float32)


def overlay(
    image_rgb: UInt8Image, heat: Float32Map, low: float, high: float, opacity: float = 0.55
) -> UInt8Image:
    """Draw a heat map over the part: transparent where the part looks good.

    The colors are inferno's, which get lighter all the way and keep their order for eyes that
    cannot tell red from green.

    Args:
        image_rgb: uint8 (H, W, 3), RGB.
        heat: float32 (H, W), raw values at the same size.
        low: raw value drawn fully transparent (a typical good part's).
        high: raw value drawn at full strength.
        opacity: strength of the strongest colour, in [0, 1].

    Returns:
        uint8 (H, W, 3), RGB.
    """
    strength = np.clip((heat - low) / max(high - low, 1e-12), 0.0, 1.0)
    colors_bgr = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    colors_rgb = colors_bgr[:, :, ::-1].astype(np.float32)
    # A square root keeps weak but real evidence visible.
    alpha = (np.sqrt(strength) * opacity)[:, :, None]
    return np.asarray(image_rgb * (1.0 - alpha) + colors_rgb * alpha + 0.5, dtype=np.uint8)
