"""Where a request for a job names what the core calls by its place in a configuration or in the paths of a run."""

from detrdistill.errors import DetrDistillError

DATASET_POINTER, STUDENT_POINTER = "/dataset_id", "/student_id"


def teacher_pointer(name: str) -> str:
    """Where a request names the checkpoint of a teacher."""
    return f"/teacher_ids/{name}"


def request_pointer(error: DetrDistillError) -> str:
    """The field of the request that an error of the core is about; empty where it is about none."""
    if error.pointer:
        return f"/config{error.pointer}"
    match error.path_pointer.split("/")[1:]:
        case ["teachers", name]:
            return teacher_pointer(name)
        case ["student"]:
            return STUDENT_POINTER
        case ["dataset"]:
            return DATASET_POINTER
        case _:
            return ""
