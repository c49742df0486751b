"""`errors.md`: every error code."""

from api.error_codes import as_markdown
from tests.docs.reference.markdown import document

INTRODUCTION = """
Every `code` of an error. Written by `make docs` from `api/error_codes.py`; `GET /catalog` serves the same table.

Where a code occurs: `request` is the answer to a request, a problem document (RFC 9457); `check` is the `error` of a
dataset or checkpoint; `job` is the `error` of a job; `run` is a run on the command line alone. Beside its code, an
error has a `message` in words for people and, where they apply, a `hint` and the JSON `pointer` to the field at fault.
"""


def page() -> str:
    """The page."""
    return document("Error codes", INTRODUCTION, as_markdown())
