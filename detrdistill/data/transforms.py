"""Augmentation once per image, then each detector's own preprocessing of the same image."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.tv_tensors import BoundingBoxes, Image

from detrdistill.files.preprocessing import Preprocessing


@dataclass(frozen=True)
class Augmentation:
    """Random changes to training images, the same for every detector that sees one."""

    geometry: nn.Module
    """Of image and boxes. Boxes that a crop leaves outside are removed with their labels."""
    colour: nn.Module
    """Of the image alone, after it was resized: on whole photographs it would cost more than a training step."""


def augmentation(*, horizontal_flip: bool, photometric: bool, crop: bool) -> Augmentation:
    """The parts of RT-DETR's recipe (arXiv 2304.08069) that are asked for."""
    steps: list[nn.Module] = []
    if crop:
        steps.append(v2.RandomApply([v2.RandomIoUCrop(), v2.SanitizeBoundingBoxes(min_size=1)], p=0.5))
    if horizontal_flip:
        steps.append(v2.RandomHorizontalFlip())
    geometry = v2.Compose(steps) if steps else v2.Identity()
    return Augmentation(geometry, v2.RandomPhotometricDistort(p=0.5) if photometric else v2.Identity())


class DetectorInput(nn.Module):
    """A detector's preprocessing: uint8 image of any size to its normalised float input.

    Resizing works on uint8 with antialiasing, as the image processors of `transformers` do, so that the exported
    folder sees the same pixels.
    """

    def __init__(self, preprocessing: Preprocessing):
        super().__init__()
        self.preprocessing = preprocessing
        mode = InterpolationMode.BICUBIC if preprocessing.bicubic else InterpolationMode.BILINEAR
        self.resize = v2.Resize((preprocessing.height, preprocessing.width), mode, antialias=True)

    @property
    def spec(self) -> Preprocessing:
        """What tells this input from others."""
        return self.preprocessing

    def forward(self, image: Image) -> Tensor:
        """Resize one image: uint8 `[3, H, W]`."""
        return self.resize(image).as_subclass(Tensor)

    def normalise(self, pixels_BCHW: Tensor) -> Tensor:
        """Scale and normalise a batch, on whatever device it is: uint8 to float32."""
        pixels_BCHW = pixels_BCHW.float() / 255
        if self.preprocessing.mean is None or self.preprocessing.std is None:
            return pixels_BCHW
        mean = pixels_BCHW.new_tensor(self.preprocessing.mean)[:, None, None]
        std = pixels_BCHW.new_tensor(self.preprocessing.std)[:, None, None]
        return (pixels_BCHW - mean) / std


def as_boxes(boxes_xyxy_px: Sequence[tuple[float, float, float, float]], height: int, width: int) -> BoundingBoxes:
    """Boxes that follow the image through transforms."""
    boxes_N4 = torch.tensor(boxes_xyxy_px, dtype=torch.float32).reshape(-1, 4)
    return BoundingBoxes(boxes_N4, format="XYXY", canvas_size=(height, width))  # pyright: ignore[reportCallIssue]
