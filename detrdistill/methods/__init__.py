"""Distillation methods: one paper, one file. They see outputs, never a detector."""
