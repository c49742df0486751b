"""The HTTP service: takes checkpoints, datasets and jobs, and shows what becomes of them. Never imports torch."""
