"""Distillation of DETR-family object detectors: the core, usable without the service.

Importing this package imports no torch: the floor (`config`, `catalog`, `events`, `errors`, `coco`,
`checkpoints`) serves the api process too.
"""

__version__ = "0.1.0"
