"""OpenVINO Model API's wrapper for anomaly models, on anomalib's export.

It is no dependency, for it asks for an older OpenCV than ours:
``pip install --no-deps openvino-model-api`` brings it beside.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from runtime.console import say
from runtime.engines.quiet import opset13, ov
from runtime.types import UInt8Image


def model_api(xml: Path) -> Callable[[UInt8Image], Any] | None:
    """A predictor on decoded pictures of any size, uint8 (H, W, 3) RGB; None where it is missing.

    Args:
        xml: anomalib's export, float32 (1, 3, h, w) in, ``pred_score`` and ``anomaly_map`` out.
    """
    try:
        from model_api.models import AnomalyDetection
    except ImportError:
        say("Model API left out; to have it: pip install --no-deps openvino-model-api")
        return None
    model: Callable[[UInt8Image], Any] = AnomalyDetection.create_model(
        str(_with_verdicts(xml)),
        device="CPU",
        configuration={
            "labels": ["normal", "anomalous"],
            "intensity_mode": "scale_to_unit",
            "reverse_input_channels": False,
        },
    )
    return model


def _with_verdicts(xml: Path) -> Path:
    """The export with the label and the mask that anomalib's post-processor would add.

    Checkpoints of the benchmark have none, and Model API reads anomalib's four outputs or none.
    """
    model = ov.Core().read_model(xml)
    zero = opset13.constant(np.float32(0.0))
    for source, name in (("pred_score", "pred_label"), ("anomaly_map", "pred_mask")):
        found = opset13.greater(model.output(source).get_node().input_value(0), zero).output(0)
        found.get_tensor().set_names({name})
        model.add_outputs(found)
    path = xml.with_name("with_verdicts.xml")
    ov.save_model(model, str(path), compress_to_fp16=False)
    return path
