"""Write the student alone, as a folder that `transformers` loads with one line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForObjectDetection

from detrdistill.catalog import Family
from detrdistill.detectors.detector import Detector
from detrdistill.detectors.weights import names_of_tensors
from detrdistill.errors import CheckpointError
from detrdistill.events import ModelReport
from detrdistill.files.coco import Id
from detrdistill.files.preprocessing import FILE_NAME as PREPROCESSOR
from detrdistill.schema.run import teacher_title

LABEL_MAP = "label_map.json"
MODEL_CARD = "README.md"


def export_folder(detector: Detector, folder: Path, category_ids: Sequence[Id | None]) -> None:
    """Save weights (safetensors), configuration, preprocessing and label map into an existing folder.

    `category_ids` are the COCO ids of the classes, for those who evaluate against the original annotations.

    Raises:
        CheckpointError: `transformers` does not read back the weights that were written.
    """
    weights = detector.model.state_dict()
    detector.model.save_pretrained(folder, state_dict=_without_copies(weights, detector.model.all_tied_weights_keys))
    _check_reads_back(folder, weights)
    _write_json(folder / PREPROCESSOR, detector.preprocessing.to_json(detector.processor_class))
    classes = zip(detector.classes, category_ids, strict=True)
    labels = [{"index": index, "name": name, "category_id": category} for index, (name, category) in enumerate(classes)]
    _write_json(folder / LABEL_MAP, labels)


@dataclass(frozen=True)
class ModelCard:
    """What the README of an exported folder says."""

    family: Family
    classes: tuple[str, ...]
    report: ModelReport
    teachers: Mapping[str, ModelReport]
    """By name."""
    control: ModelReport | None
    validation_images: int
    verdict: str | None
    """Of the run, where its numbers are no success."""
    config: dict[str, Any]
    versions: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write the card, with the metrics measured on this very folder."""
        rows = [
            ("this model", self.report),
            *((teacher_title(name), report) for name, report in self.teachers.items()),
            ("same student, not distilled", self.control),
        ]
        table = "\n".join(
            f"| {name} | {row.metrics.ap:.4f} | {row.metrics.ap50:.4f} | {row.metrics.ap75:.4f} "
            f"| {_count(row.parameters)} |"
            for name, row in rows
            if row is not None
        )
        family = self.family
        teach = "" if family.in_library else f"import detrdistill.detectors  # teaches transformers {family.title}\n\n"
        verdict = "" if self.verdict is None else f"\n> **{self.verdict[0].upper()}{self.verdict[1:]}**\n"
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        text = f"""---
library_name: transformers
pipeline_tag: object-detection
---

# {family.title} ({len(self.classes)} classes)
{verdict}
Architecture: {family.title}, {family.paper}. Classes: {", ".join(self.classes)}.

```python
{teach}from transformers import AutoImageProcessor, AutoModelForObjectDetection

processor = AutoImageProcessor.from_pretrained("path/to/this/folder")
model = AutoModelForObjectDetection.from_pretrained("path/to/this/folder")
```

COCO metrics on the {self.validation_images} validation images, measured on this folder with the two lines above,
`post_process_object_detection(outputs, threshold=0.0)` and pycocotools:

| | AP | AP50 | AP75 | parameters |
|---|---|---|---|---|
{table}

`label_map.json` gives the COCO category id of each class. A student may inherit the licence terms of its teacher.

<details><summary>Configuration of the run</summary>

```json
{json.dumps(self.config, indent=2)}
```

{versions}
</details>
"""
        temporary = folder / (MODEL_CARD + ".part")  # somebody may be downloading the folder
        temporary.write_text(text)
        temporary.replace(folder / MODEL_CARD)


def _count(parameters: int | None) -> str:
    return "unknown" if parameters is None else f"{parameters:,}"


def _without_copies(weights: Mapping[str, Tensor], tied: Mapping[str, str]) -> dict[str, Tensor]:
    """Keep one name of every tensor that has several: the one that transformers ties the others to.

    Left to itself, `save_pretrained` keeps the last one (measured with transformers 5.17 and 5.23). A DEIMv2 whose
    layers share one box head then loads with a random one, because transformers reads the first.

    Args:
        weights: state dict.
        tied: names that transformers fills from another.
    """
    kept = [next((name for name in names if name not in tied), names[0]) for names in names_of_tensors(weights)]
    return {name: weights[name] for name in kept}


def _check_reads_back(folder: Path, weights: Mapping[str, Tensor]) -> None:
    model = AutoModelForObjectDetection.from_pretrained(folder)
    found = model.state_dict()
    wrong = [name for name, tensor in weights.items() if not torch.equal(found[name], tensor.cpu())]
    if wrong:
        raise CheckpointError(
            f"The exported weights do not read back; {len(wrong)} tensors differ: {', '.join(wrong[:5])}.",
            hint="This is an error of detrdistill or of this version of transformers; please report it.",
        )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
