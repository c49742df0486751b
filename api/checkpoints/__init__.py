"""Checkpoints: weights of teachers and of students to start from."""
