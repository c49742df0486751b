"""Folders of black-box teachers, as a user would bring them."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from detrdistill.coco import SPLITS, read_splits
from detrdistill.detectors.detector import Detector
from detrdistill.export import export_folder


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
