"""Why an attempt ended before its run did, in words for the user."""

import signal
from typing import Literal

StopReason = Literal["cancel", "drain", "lease", "stalled", "max_runtime"]
Error = dict[str, str]


def interruption(reason: StopReason | None, where: str, status: int, log_tail: str) -> Error:
    """The error of a job, or of a change of its state.

    Args:
        reason: why the worker ended the training process; None: it ended by itself.
        where: the last that was heard of the run, as "in stage export".
        status: exit status of the training process; the negative number of the signal that killed it.
        log_tail: end of the job's log.
    """
    match reason:
        case "drain":
            return _error("worker_shut_down", "The worker was shut down; the job goes on with another.")
        case "lease":
            return _error("database_lost", "The worker could not reach the database; the job goes on later.")
        case "stalled":
            return _error("stalled", f"The training made no progress any more {where}.", _log(log_tail))
        case "max_runtime":
            hint = (
                "Its best weights and its newest checkpoint are kept. A retry goes on from there, with the same limit."
            )
            message = f"The job reached its max_runtime_seconds {where}."
            return _error("max_runtime", message, hint) | {"pointer": "/max_runtime_seconds"}
        case _:
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            return _error("training_process_lost", f"The training process {how} {where}.", _log(log_tail))


def _error(code: str, message: str, hint: str = "") -> Error:
    return {"code": code, "message": message} | ({"hint": hint} if hint else {})


def _log(tail: str) -> str:
    return f"End of its log:\n{tail}"
