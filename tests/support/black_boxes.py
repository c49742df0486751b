"""Folders of black-box teachers, as a user would bring them."""

import io
import json
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from detrdistill.detectors.detector import Detector
from detrdistill.export import export_folder
from detrdistill.files.coco import SPLITS, read_splits


class _LogitsAndBoxes(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        output = self.model(pixel_values=pixel_values)
        return output.logits, output.pred_boxes


def write_onnx(detector: Detector, folder: Path, *, batch: int | None = None) -> Path:
    """Export a detector; `batch` fixes the batch axis."""
    export_folder(detector, folder, tuple(range(len(detector.classes))))
    (folder / "model.safetensors").unlink()
    size = detector.preprocessing
    torch.onnx.export(
        _LogitsAndBoxes(detector.model).eval(),
        (torch.rand(batch or 2, 3, size.height, size.width),),
        folder / "model.onnx",
        input_names=["pixel_values"],
        output_names=["logits", "pred_boxes"],
        dynamic_shapes=None if batch else {"pixel_values": {0: "batch"}},
        external_data=False,
        verbose=False,
    )
    return folder


class _BrightnessAndBoxes(nn.Module):
    """Two queries, three logits: numbers that depend on the image, of the shapes of a detector."""

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        mean_B3 = pixel_values.mean((2, 3))
        logits_BQC = torch.stack([mean_B3, -mean_B3], dim=1)
        return logits_BQC, torch.cat([logits_BQC, logits_BQC[..., :1]], dim=-1).sigmoid()


@cache
def small_onnx() -> bytes:
    """A model of two classes with softmax scores, for images of any size."""
    exported = torch.onnx.export(
        _BrightnessAndBoxes().eval(),
        (torch.rand(2, 3, 64, 64),),
        input_names=["pixel_values"],
        output_names=["logits", "pred_boxes"],
        dynamic_shapes={"pixel_values": {0: "batch"}},
        verbose=False,
    )
    assert exported is not None
    content = io.BytesIO()
    exported.save(content)
    return content.getvalue()


def perfect_detections(dataset: Path) -> dict[str, list[dict]]:
    """The ground truth as a detector's results, all of the score 0.9."""
    return {
        split: [
            {key: row[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9}
            for row in read_splits(dataset)[split].annotations["annotations"]
        ]
        for split in SPLITS
    }


def write_detections(folder: Path, content: object) -> Path:
    (folder / "detections.json").write_text(json.dumps(content))
    return folder
