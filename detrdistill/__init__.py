"""Distillation of DETR-family object detectors: the core, usable without the service.

Importing this package imports no torch: the floor (`schema`, `files`, `compatibility`, `catalog`, `events`, `errors`)
serves the api process too.
"""

__version__ = "0.1.0"
