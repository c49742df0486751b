"""What a run computes on, and with."""

import os
import platform
from typing import Literal

import torch
import torchvision
import transformers

from detrdistill import __version__


def autocast_type(precision: Literal["auto", "fp32", "bf16"], device: torch.device) -> torch.dtype | None:
    """Type of the numbers under autocast; None: without it. `auto` is bfloat16 where the device has it."""
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    return torch.bfloat16 if precision == "bf16" else None


def device_name(device: torch.device) -> str:
    """The device in words, for the result."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({os.cpu_count()} cores)"


def versions() -> dict[str, str]:
    """Versions of what decides the numbers, for the result."""
    return {
        "detrdistill": __version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
