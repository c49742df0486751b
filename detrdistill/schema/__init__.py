"""What a run is: its configuration, methods, recipes and paths. Torch-free."""
