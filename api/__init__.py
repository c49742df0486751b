"""The HTTP service: takes checkpoints, data sets and jobs, and shows what becomes of them. Never imports torch."""
