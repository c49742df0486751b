"""How fast a dataset's images are looked at when it is registered."""

import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from detrdistill.files.coco.images import look_at_images


def decoding_rate(count: int = 400) -> float:
    """Images a second: JPEGs of 640 x 480 with photographic detail, decoded to their end on all cores."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        for number in range(count):
            coarse = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)).resize((640, 480))
            grain = rng.integers(-6, 6, (480, 640, 1))
            pixels = (np.asarray(coarse).astype(int) + grain).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(Path(name) / f"{number}.jpg", quality=90)
        start = time.perf_counter()
        look_at_images(Path(name).iterdir(), decode=True)
        return count / (time.perf_counter() - start)
