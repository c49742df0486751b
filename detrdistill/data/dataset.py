"""Training and evaluation batches from a COCO split.

Every random choice comes from (seed, epoch, image), so a resumed run sees exactly the batches it would have seen,
and student and control see the same ones, whatever the number of loader processes.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as F
from torchvision.tv_tensors import Image, KeyPoints

from detrdistill.boxes import to_cxcywh
from detrdistill.data.detections import RecordedDetections, image_corners
from detrdistill.data.transforms import Augmentation, DetectorInput, as_boxes
from detrdistill.files.coco import CocoSet, Id, ImageRecord, load_image
from detrdistill.files.preprocessing import Preprocessing
from detrdistill.outputs import Targets

_MOST_WORKERS = 8

InputSpec = Preprocessing | RecordedDetections
"""What a detector or teacher looks at: an image, preprocessed so; or the detections that were recorded on it."""
InputTransform = DetectorInput | RecordedDetections
"""How that is made of an image."""


def transform_of(spec: InputSpec) -> InputTransform:
    """The transform that makes this input."""
    return DetectorInput(spec) if isinstance(spec, Preprocessing) else spec


@dataclass(frozen=True)
class Batch:
    """Images of one batch for each detector, and their targets."""

    inputs: tuple[Tensor, ...]
    """One tensor per transform, in their order: uint8 images `[B, 3, H, W]`, or recorded detections `[B, R, 6]`."""
    targets: tuple[Targets, ...]
    image_ids: tuple[Id, ...]
    """As the annotation file writes them."""


class DetectionDataset(Dataset[tuple[tuple[Tensor, ...], Targets, Id]]):
    """Images of a split, augmented and resized for one or more detectors.

    An index is a pair (seed, position): the seed fixes all random choices for that image.
    """

    def __init__(self, split: CocoSet, transforms: Sequence[InputTransform], augment: Augmentation | None):
        self.images = split.images
        self.transforms = tuple(transforms)
        self.augment = augment

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: tuple[int, int]) -> tuple[tuple[Tensor, ...], Targets, Id]:
        seed, position = index
        record = self.images[position]
        image = read_image(record)
        boxes = as_boxes(record.boxes_xyxy_px, *image.shape[-2:])
        labels_N = torch.tensor(record.labels, dtype=torch.int64)
        corners = image_corners(*image.shape[-2:])
        if self.augment is not None:
            sample = {"image": image, "boxes": boxes, "labels": labels_N, "corners": corners}
            with _drawing_from(seed):
                sample = self.augment.geometry(sample)
            image, boxes, labels_N, corners = (sample[part] for part in ("image", "boxes", "labels", "corners"))
        height, width = image.shape[-2:]
        scale_4 = torch.tensor([width, height, width, height], dtype=torch.float32)
        targets = Targets(labels_N, to_cxcywh(boxes.as_subclass(Tensor)) / scale_4)
        inputs = tuple(self._input(transform, record, image, corners, seed) for transform in self.transforms)
        return inputs, targets, record.id

    def _input(
        self, transform: InputTransform, record: ImageRecord, image: Image, corners: KeyPoints, seed: int
    ) -> Tensor:
        """The image as one detector gets it; the colours change alike for all."""
        if isinstance(transform, RecordedDetections):
            return transform.rows(record, corners)
        pixels_CHW = transform(image)
        if self.augment is None:
            return pixels_CHW
        with _drawing_from(seed):
            return self.augment.colour(pixels_CHW)


@contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
    """Random choices from this seed alone; the global generators stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed those of the GPUs too
        yield


def read_image(record: ImageRecord) -> Image:
    """Decode an image to uint8 RGB `[3, H, W]`, see `detrdistill.files.coco.images`."""
    return F.to_image(load_image(record))


class EpochSampler:
    """Batches of (seed, position) for one epoch after another, from any step on.

    Each epoch is a permutation drawn from (seed, epoch); a last incomplete batch is dropped unless it is the only
    one.
    """

    def __init__(self, size: int, batch_size: int, seed: int):
        self.size = size
        self.batch_size = min(batch_size, size)
        self.seed = seed
        self.first_step = 0
        self.last_step = 0

    @property
    def steps_per_epoch(self) -> int:
        """Batches per pass over the data."""
        return self.size // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        step = self.first_step
        while step < self.last_step:
            epoch, start = divmod(step, self.steps_per_epoch)
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(self.size, generator=generator).tolist()
            seeds = torch.randint(2**62, (self.size,), generator=generator).tolist()
            for batch in range(start, self.steps_per_epoch):
                if step == self.last_step:
                    return
                positions = order[batch * self.batch_size : (batch + 1) * self.batch_size]
                yield [(seeds[position], position) for position in positions]
                step += 1


def loader_workers(configured: int | None) -> int:
    """Loader processes of a run; unless configured, up to eight with a GPU, none without."""
    if configured is not None:
        return configured
    return min(_MOST_WORKERS, os.cpu_count() or 1) if torch.cuda.is_available() else 0


def training_batches(
    dataset: DetectionDataset, sampler: EpochSampler, *, first_step: int, last_step: int, workers: int
) -> Iterator[Batch]:
    """Batches of the steps `first_step` to `last_step` - 1."""
    sampler.first_step, sampler.last_step = first_step, last_step
    return iter(_loader(dataset, sampler, workers))


def evaluation_batches(dataset: DetectionDataset, *, batch_size: int, workers: int) -> Iterator[Batch]:
    """All images once, in order."""
    positions = [(0, position) for position in range(len(dataset))]
    batches = [positions[start : start + batch_size] for start in range(0, len(positions), batch_size)]
    return iter(_loader(dataset, batches, workers))


def _loader(dataset: DetectionDataset, batches: object, workers: int) -> DataLoader[Batch]:
    loader: Any = DataLoader(
        dataset,
        batch_sampler=batches,  # pyright: ignore[reportArgumentType]  any iterable of index lists will do
        num_workers=workers,
        collate_fn=_collate,
        generator=torch.Generator(),  # or creating a loader would advance the global one, and break exact resume
        pin_memory=torch.cuda.is_available(),
    )
    return loader


def _collate(samples: Sequence[tuple[tuple[Tensor, ...], Targets, Id]]) -> Batch:
    inputs, targets, image_ids = zip(*samples, strict=True)
    return Batch(tuple(torch.stack(values) for values in zip(*inputs, strict=True)), targets, image_ids)
