"""What a detector expects of its input image, as its `preprocessor_config.json` says it."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detrdistill.errors import CheckpointError

FILE_NAME = "preprocessor_config.json"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_BILINEAR, _BICUBIC = 2, 3  # PIL.Image.Resampling
_LARGEST = 4096


@dataclass(frozen=True)
class Preprocessing:
    """Resize to a fixed size (the aspect ratio is not kept), scale to [0, 1], normalise or not."""

    height: int
    width: int
    mean: tuple[float, ...] | None
    """Per channel (red, green, blue); None: no normalisation."""
    std: tuple[float, ...] | None
    bicubic: bool = False

    @classmethod
    def square(cls, size: int, *, normalised: bool) -> "Preprocessing":
        """Square input of a new detector."""
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if normalised else (None, None)
        return cls(size, size, mean, std)

    @classmethod
    def read(cls, folder: Path, fallback_size: int) -> "Preprocessing":
        """Read a checkpoint folder.

        Args:
            folder: holds `preprocessor_config.json`.
            fallback_size: side in pixels where the file names no fixed height and width (the detector was trained
                on images of varying size).

        Raises:
            CheckpointError: the file is missing or asks for something that is not supported.
        """
        path = folder / FILE_NAME
        try:
            values: dict[str, Any] = json.loads(path.read_bytes())
            size: dict[str, int] = values.get("size") or {}
            height, width = int(size.get("height", fallback_size)), int(size.get("width", fallback_size))
            resample = values.get("resample", _BILINEAR)
            scale = float(values.get("rescale_factor", 1 / 255)) if values.get("do_rescale", True) else 1.0
            mean = std = None
            if values.get("do_normalize", True):
                mean = tuple(map(float, values.get("image_mean", IMAGENET_MEAN)))
                std = tuple(map(float, values.get("image_std", IMAGENET_STD)))
        except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise CheckpointError(
                f"{FILE_NAME} cannot be read: {error}.",
                hint="Save the image processor next to the model with save_pretrained.",
            ) from error
        if resample not in (_BILINEAR, _BICUBIC):
            raise CheckpointError(f"{FILE_NAME}: resample {resample!r} is not supported.", hint="Use 2 or 3.")
        if not abs(scale * 255 - 1) <= 1e-3:  # NaN is none, either
            raise CheckpointError(
                f"{FILE_NAME}: rescale_factor {scale} is not supported.",
                hint="Pixels must be scaled to [0, 1].",
            )
        if not (0 <= height <= _LARGEST and 0 <= width <= _LARGEST):
            raise CheckpointError(
                f"{FILE_NAME}: {height} x {width} is no usable input size.",
                hint=f"At most {_LARGEST} pixels a side.",
            )
        if mean is not None and std is not None:
            finite = all(math.isfinite(value) for value in (*mean, *std))
            if not (finite and len(mean) == len(std) == 3 and all(std)):
                raise CheckpointError(
                    f"{FILE_NAME}: image_mean and image_std need three finite values, std none of them 0."
                )
        return cls(height, width, mean, std, bicubic=resample == _BICUBIC)

    def to_json(self, processor_class: str) -> dict[str, Any]:
        """Content of `preprocessor_config.json` for an image processor of `transformers`."""
        return {
            "image_processor_type": processor_class,
            "format": "coco_detection",
            "do_resize": True,
            "size": {"height": self.height, "width": self.width},
            "resample": _BICUBIC if self.bicubic else _BILINEAR,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": self.mean is not None,
            "image_mean": list(self.mean or IMAGENET_MEAN),
            "image_std": list(self.std or IMAGENET_STD),
            "do_pad": False,
            "do_convert_annotations": True,
        }
