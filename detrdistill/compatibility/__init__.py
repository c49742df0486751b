"""What fits together: methods with families, classes of a teacher with those of a dataset. Torch-free."""
