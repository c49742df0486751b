"""Thin adapters over the detectors of `transformers`; the only place that knows its names."""

from transformers.utils import logging

logging.disable_progress_bar()
