"""Take the paths of this machine out of what a user is shown."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from detrdistill.schema.run import teacher_title
from worker.protocol import RunSpec

_CODE = Path(__file__).resolve().parents[1]


class Redactor:
    """Puts names in the place of folders.

    Args:
        names: what is written for a folder.
    """

    def __init__(self, names: Mapping[Path, str]):
        own = {_CODE: "<code>", Path(sys.prefix): "<python>", Path(sys.base_prefix): "<python>"}
        both = {form: name for path, name in (own | dict(names)).items() for form in (path, path.resolve())}
        by_length = sorted(both.items(), key=lambda item: -len(str(item[0])))
        self._names = [(str(path), name) for path, name in by_length if path != Path(path.anchor)]

    def __call__(self, text: str) -> str:
        """The text without the folders, and with nothing that JSON in a database cannot hold."""
        for path, name in self._names:
            text = text.replace(path, name)
        return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def redactor_of(spec: RunSpec) -> Redactor:
    """Knows the folders of a run, and the storage that they are in."""
    paths = spec.paths
    folders = {folder: f"<{teacher_title(name)}>" for name, folder in paths.teachers.items()}
    folders |= {paths.dataset: "<dataset>", paths.work: "<job>", paths.work.parent.parent: "<storage>"}
    if paths.student is not None:
        folders[paths.student] = "<student>"
    return Redactor(folders)


class RedactingStream:
    """A text stream that redacts what is written to it; in all else the stream below."""

    def __init__(self, stream: TextIO, redact: Redactor):
        self._stream = stream
        self._redact = redact

    def write(self, text: str) -> int:
        """Write without the folders."""
        self._stream.write(self._redact(text))
        return len(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def redact_standard_error(redact: Redactor) -> None:
    """Have Python write no folders to the log; also in the processes that are forked from this one."""
    sys.stderr = RedactingStream(sys.stderr, redact)  # pyright: ignore[reportAttributeAccessIssue]
