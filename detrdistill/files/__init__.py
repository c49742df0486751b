"""What lies on disk: data sets, checkpoints, black boxes and image processors. Torch-free."""
