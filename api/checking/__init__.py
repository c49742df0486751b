"""Datasets and checkpoints are checked by processes of their own: the life of a check, and who is there to do it."""
