"""Losses shared by the detection criterion and the distillation methods."""
