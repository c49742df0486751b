"""What lies on disk: datasets, checkpoints, black boxes and image processors. Torch-free."""
