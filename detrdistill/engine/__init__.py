"""The recipe of a run: teacher gate, training, evaluation, export, resume."""
