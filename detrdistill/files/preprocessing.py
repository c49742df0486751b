"""What a detector expects of its input image, read from its files as transformers' `AutoImageProcessor` reads them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from detrdistill.errors import CheckpointError
from detrdistill.files.limits import LARGEST_SIDE, read_json

FILE_NAME = "preprocessor_config.json"
NESTED_FILE_NAME = "processor_config.json"
"""Where newer transformers keep the image processor, as the object `image_processor`."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_LANCZOS, _BILINEAR, _BICUBIC = 1, 2, 3  # PIL.Image.Resampling
_RESAMPLING = {"nearest": 0, "lanczos": _LANCZOS, "bilinear": _BILINEAR, "bicubic": _BICUBIC, "box": 4, "hamming": 5}
_UNIT = 1 / 255
_HINT = "Save the image processor next to the model with save_pretrained."

_DETR: Mapping[str, Any] = {
    "size": {"shortest_edge": 800, "longest_edge": 1333}, "max_size": 1333, "do_normalize": True, "do_pad": True,
}  # fmt: skip
_RT_DETR: Mapping[str, Any] = {"size": {"height": 640, "width": 640}, "do_normalize": False, "do_pad": False}
DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "DetrImageProcessor": _DETR,
        "ConditionalDetrImageProcessor": _DETR,
        "DeformableDetrImageProcessor": _DETR,
        "YolosImageProcessor": _DETR,
        "RfDetrImageProcessor": _DETR,
        "RTDetrImageProcessor": _RT_DETR,
    }
)
"""What the classes of transformers take for a field that is missing or null."""
_OF_MODEL: Mapping[str, str] = MappingProxyType(
    {
        "detr": "DetrImageProcessor",
        "table-transformer": "DetrImageProcessor",
        "conditional_detr": "ConditionalDetrImageProcessor",
        "dab-detr": "ConditionalDetrImageProcessor",
        "deformable_detr": "DeformableDetrImageProcessor",
        "lw_detr": "DeformableDetrImageProcessor",
        "yolos": "YolosImageProcessor",
        "rf_detr": "RfDetrImageProcessor",
        "rt_detr": "RTDetrImageProcessor",
        "rt_detr_v2": "RTDetrImageProcessor",
        "d_fine": "RTDetrImageProcessor",
        "deimv2": "RTDetrImageProcessor",
    }
)
"""Image processor of a model type, where the file names none."""


@dataclass(frozen=True)
class Preprocessing:
    """Resize to a fixed size (the aspect ratio is not kept), scale to [0, 1], normalise or not."""

    height: int
    width: int
    mean: tuple[float, ...] | None
    """Per channel (red, green, blue), of pixels in [0, 1]; None: no normalisation."""
    std: tuple[float, ...] | None
    bicubic: bool = False
    trained: str = field(default="", compare=False)
    """How its own image processor resizes, where that is not to a fixed size: "at shortest edge 800, ..."."""
    lanczos: bool = field(default=False, compare=False)
    """Its own image processor resizes with the filter of Lanczos; here it is the bicubic one."""

    @classmethod
    def square(cls, size: int, *, normalised: bool) -> "Preprocessing":
        """Square input of a new detector."""
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if normalised else (None, None)
        return cls(size, size, mean, std)

    @classmethod
    def read(cls, folder: Path, fallback_size: int) -> "Preprocessing":
        """Read a checkpoint folder.

        Args:
            folder: holds `preprocessor_config.json`, or `processor_config.json` with an `image_processor`.
            fallback_size: side in pixels where the file names no fixed height and width (the detector was trained
                on images of varying size).

        Raises:
            CheckpointError: the file is missing or asks for something that is not supported.
        """
        values, file = _values(folder)
        (height, width), trained = _input_size(values, file)
        scale = _factor(values, file)
        mean = std = None
        if _flag(values, "do_normalize", file, default=True):
            mean = _channels(values, "image_mean", IMAGENET_MEAN, 0, 255 * scale, file)
            std = _channels(values, "image_std", IMAGENET_STD, 1e-6 * 255 * scale, 10 * 255 * scale, file)
        if abs(scale / _UNIT - 1) > 1e-6:
            unit = 255 * scale
            mean = tuple(value / unit for value in mean or (0.0, 0.0, 0.0))
            std = tuple(value / unit for value in std or (1.0, 1.0, 1.0))
        resampling = _resampling(values, file)
        size = height or fallback_size, width or fallback_size
        return cls(*size, mean, std, resampling != _BILINEAR, trained, resampling == _LANCZOS)

    @property
    def unlike_training(self) -> str:
        """In what images reach it otherwise than in its training: squashed, or by another filter; empty: in nothing."""
        said: list[str] = []
        if self.trained:
            said.append(f"It was trained {self.trained}; here images are squashed to {self.width} x {self.height}.")
        if self.lanczos:
            said.append("Its images were resized with the filter of Lanczos; here it is the bicubic one.")
        return " ".join(said)

    def to_json(self, processor_class: str) -> dict[str, Any]:
        """Content of `preprocessor_config.json` for an image processor of `transformers`."""
        return {
            "image_processor_type": processor_class,
            "format": "coco_detection",
            "do_resize": True,
            "size": {"height": self.height, "width": self.width},
            "resample": _BICUBIC if self.bicubic else _BILINEAR,
            "do_rescale": True,
            "rescale_factor": _UNIT,
            "do_normalize": self.mean is not None,
            "image_mean": list(self.mean or IMAGENET_MEAN),
            "image_std": list(self.std or IMAGENET_STD),
            "do_pad": False,
            "do_convert_annotations": True,
        }


def processor_file(folder: Path) -> Path | None:
    """The file that describes the image processor of a folder, if there is one."""
    nested = folder / NESTED_FILE_NAME
    if nested.is_file() and isinstance(read_json(nested).get("image_processor"), dict):
        return nested
    return folder / FILE_NAME if (folder / FILE_NAME).is_file() else None


def _values(folder: Path) -> tuple[dict[str, Any], str]:
    """Fields of the image processor over the defaults of its class, and the file they are from."""
    path = processor_file(folder)
    if path is None:
        raise CheckpointError(f"{FILE_NAME} cannot be read: there is none.", hint=_HINT)
    given = read_json(path)
    if path.name == NESTED_FILE_NAME:
        given = cast("dict[str, Any]", given["image_processor"])
    if given.get("auto_map"):
        raise CheckpointError(
            f"{path.name} asks to run code of its own (auto_map).",
            hint="Only image processors of transformers are read.",
        )
    given = {key: value for key, value in given.items() if value is not None}
    return dict(DEFAULTS.get(_class_of(given, folder), {})) | given, path.name


def _class_of(given: Mapping[str, Any], folder: Path) -> str:
    """Name of the image processor's class; files before transformers 4.26 name a feature extractor."""
    name = given.get("image_processor_type")
    if name is None and "feature_extractor_type" in given:
        name = str(given["feature_extractor_type"]).replace("FeatureExtractor", "ImageProcessor")
    if name is None and (folder / "config.json").is_file():
        config = read_json(folder / "config.json")
        name = config.get("image_processor_type") or _OF_MODEL.get(str(config.get("model_type")))
    return str(name).removesuffix("Fast").removesuffix("Pil")


def _input_size(values: Mapping[str, Any], file: str) -> tuple[tuple[int, int], str]:
    """Fixed height and width of the input, zeros where there is none; and how images are resized where it is not so."""
    if not _flag(values, "do_resize", file, default=True):
        return (0, 0), "on images of their own size"
    size = _size_object(values, file)
    sides = {name: _side(value, f"size.{name}", file) for name, value in size.items()}
    match sides:
        case {"shortest_edge": shortest, "longest_edge": longest}:
            return (0, 0), f"at shortest edge {shortest}, longest edge {longest} with the aspect ratio kept"
        case {"shortest_edge": shortest}:
            return (0, 0), f"at shortest edge {shortest} with the aspect ratio kept"
        case {"max_height": height, "max_width": width}:
            padded = " and padded" if _flag(values, "do_pad", file, default=False) else ""
            return (height, width), f"on images fitted into {width} x {height} with the aspect ratio kept{padded}"
        case {"height": height, "width": width}:
            return (height, width), _padding(values, file, height, width)
        case _ if not sides:
            return (0, 0), ""
        case _:
            raise CheckpointError(
                f"{file} cannot be read: size has the keys {', '.join(sorted(sides))}, which nothing follows.",
                hint='Give {"height", "width"} or {"shortest_edge", "longest_edge"}.',
            )


def _padding(values: Mapping[str, Any], file: str, height: int, width: int) -> str:
    """How images of a fixed size are padded beyond it; empty where they are not."""
    wanted: Any = values.get("pad_size")
    if not _flag(values, "do_pad", file, default=False) or not isinstance(wanted, dict):
        return ""
    sides = cast("dict[str, Any]", wanted)
    padded = tuple(_side(sides.get(name), f"pad_size.{name}", file) for name in ("height", "width"))
    return "" if padded == (height, width) else f"on images of {width} x {height} padded to {padded[1]} x {padded[0]}"


def _size_object(values: Mapping[str, Any], file: str) -> dict[str, Any]:
    """`size` as an object; a number is the shortest edge, with `max_size` as the longest, a list height and width."""
    size: Any = values.get("size", {})
    if isinstance(size, dict):
        known = ("shortest_edge", "longest_edge", "max_height", "max_width", "height", "width")
        given = cast("dict[str, Any]", size)
        unknown = sorted(given.keys() - set(known))
        if unknown:
            raise CheckpointError(
                f"{file} cannot be read: size has the unknown key {unknown[0]!r}.", hint=f"Known: {', '.join(known)}."
            )
        return {key: value for key, value in given.items() if value is not None}
    if isinstance(size, list):
        pair = cast("list[Any]", size)
        if len(pair) != 2:
            raise CheckpointError(f"{file} cannot be read: size lists {len(pair)} numbers, not height and width.")
        return {"height": pair[0], "width": pair[1]}
    longest = {"longest_edge": values["max_size"]} if "max_size" in values else {}
    return {"shortest_edge": size} | longest


def _side(value: Any, name: str, file: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != math.floor(value):
        raise CheckpointError(
            f"{file} cannot be read: {name} is {value!r:.60}, not a whole number of pixels.", hint=_HINT
        )
    if not 1 <= value <= LARGEST_SIDE:
        raise CheckpointError(
            f"{file}: {name} {value} is no usable input size.", hint=f"From 1 to {LARGEST_SIDE} pixels a side."
        )
    return int(value)


def _factor(values: Mapping[str, Any], file: str) -> float:
    """What the pixels of 0 to 255 are multiplied with."""
    if not _flag(values, "do_rescale", file, default=True):
        return 1.0
    factor = _number(values.get("rescale_factor", _UNIT), "rescale_factor", file)
    if not 1e-6 <= factor <= 1:
        raise CheckpointError(
            f"{file}: rescale_factor {factor} is not supported.", hint="Give a factor above 0, as 1 / 255, at most 1."
        )
    return factor


def _channels(
    values: Mapping[str, Any], name: str, default: tuple[float, ...], low: float, high: float, file: str
) -> tuple[float, ...]:
    """Three numbers, of red, green and blue; one number is that of all."""
    given: Any = values.get(name, default)
    items = list(cast("list[Any]", given)) if isinstance(given, (list, tuple)) else [given] * 3
    numbers = tuple(_number(item, name, file) for item in items)
    if len(numbers) != 3 or not all(low <= number <= high for number in numbers):
        raise CheckpointError(
            f"{file}: {name} is {str(list(numbers))[:80]}; it needs three values from {low:.3g} to {high:.3g}.",
            hint="Mean and deviation are those of pixels after rescale_factor.",
        )
    return numbers


def _number(value: Any, name: str, file: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CheckpointError(f"{file} cannot be read: {name} holds {value!r:.60}, not a number.", hint=_HINT)
    return float(value)


def _flag(values: Mapping[str, Any], name: str, file: str, *, default: bool) -> bool:
    value: Any = values.get(name, default)
    if not isinstance(value, bool):
        raise CheckpointError(f"{file} cannot be read: {name} is {value!r:.60}, neither true nor false.", hint=_HINT)
    return value


def _resampling(values: Mapping[str, Any], file: str) -> int:
    """A filter of `PIL.Image.Resampling`, by number or name."""
    given: Any = values.get("resample", _BILINEAR)
    number = _RESAMPLING.get(given.rpartition(".")[2].lower()) if isinstance(given, str) else given
    if isinstance(number, bool) or number not in (_LANCZOS, _BILINEAR, _BICUBIC):
        raise CheckpointError(
            f"{file}: resample {given!r:.60} is not supported.", hint="Use 1 (Lanczos), 2 (bilinear) or 3 (bicubic)."
        )
    return number
