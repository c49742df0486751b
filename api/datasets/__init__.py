"""Datasets: upload, check, list."""
