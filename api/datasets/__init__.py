"""Data sets: upload, check, list."""
