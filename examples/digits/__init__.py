"""The dataset, teacher and jobs that `make demo` runs on."""
