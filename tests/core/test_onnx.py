"""What `transformers` exports of each family to ONNX computes what PyTorch computes."""

import re
from pathlib import Path

import onnx_ir
import pytest
import torch
from onnxruntime import InferenceSession
from torch.export import Dim
from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

from detrdistill.catalog import CATALOG
from detrdistill.detectors.detector import Detector
from tests.support.factories import DETECTORS, SIDE, tiny_detector

pytestmark = [pytest.mark.slow, pytest.mark.export]

EXAMPLES = 2
TOLERANCE = 5e-4
"""Of logits up to 10 and boxes. Queries are compared as a set: cells of nearly the same score may change places."""
UNOPTIMISED = ("deformable-detr",)
"""The exporter's optimiser makes an invalid graph of these."""


def apart(detector: Detector) -> Detector:
    """Batch norms that have seen images and wide class heads, so that rounding decides no cell's becoming a query."""
    torch.manual_seed(0)
    detector.train()
    with torch.no_grad():
        for _ in range(30):
            detector(torch.rand(2, 3, SIDE, SIDE))
    for name, weight in detector.model.named_parameters():
        if re.search(detector.info.class_tensors, name):
            torch.nn.init.normal_(weight)
    return detector


@pytest.mark.parametrize(("family", "size"), DETECTORS)
def test_an_onnx_model_computes_the_same(family: str, size: str, tmp_path: Path):
    model = apart(tiny_detector(family, size)).eval().model
    example = {"pixel_values": torch.rand(EXAMPLES, 3, SIDE, SIDE)}
    any_batch = CATALOG[family].onnx_batch == "any"
    shapes = {"pixel_values": {0: Dim("batch", min=1, max=64)}} if any_batch else None
    options = OnnxConfig(optimize=family not in UNOPTIMISED, dynamic_shapes=shapes)
    exported = OnnxExporter().export(model, example, config=options)
    onnx_ir.save(exported.program, tmp_path / "model.onnx")

    session = InferenceSession(tmp_path / "model.onnx")
    for batch in (1, EXAMPLES, EXAMPLES + 1) if any_batch else (EXAMPLES,):
        pixels = torch.rand(batch, 3, SIDE, SIDE)
        with torch.inference_mode():
            expected = model(pixel_values=pixels)
        found = session.run(["logits", "pred_boxes"], {"pixel_values": pixels.numpy()})
        found_BQX = torch.cat([torch.from_numpy(array) for array in found], dim=-1)
        distance_BQQ = torch.cdist(found_BQX, torch.cat([expected.logits, expected.pred_boxes], dim=-1), p=torch.inf)
        assert distance_BQQ.amin(1).max() < TOLERANCE
        assert distance_BQQ.amin(2).max() < TOLERANCE
