"""Names for the arrays that cross module borders."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# A picture: (H, W, 3), RGB, [0, 255].
UInt8Image = npt.NDArray[np.uint8]
# An anomaly map (h, w), in raw scores.
Float32Map = npt.NDArray[np.float32]
# A descriptor (D,), L2-normalized.
Embedding = npt.NDArray[np.float32]
# True where a picture is defective, (H, W).
Mask = npt.NDArray[np.bool_]
# True for anomalous parts, (n,).
Labels = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
# One figure a part, (n,).
Floats = npt.NDArray[np.float64]
