"""Thin adapters over the detectors of `transformers`, and the one it lacks; the only place that knows its names."""

from transformers.utils import logging

from detrdistill.detectors import adamixer

logging.disable_progress_bar()
adamixer.register()
