"""The data set, teacher and jobs that `make demo` runs on."""
