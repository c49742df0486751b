"""Files of the service, below one root that api and worker share.

Names come from server-made ids alone; nothing a user sent becomes a path. New content is written to a staging folder
and renamed into place, so a failed upload leaves nothing behind. Object storage is to come behind the same methods.
"""

import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal
from uuid import UUID

from api.settings import get_settings

Kind = Literal["datasets", "checkpoints", "jobs"]


class Storage:
    """Local file store."""

    def __init__(self, root: Path):
        self.root = root.resolve()

    @contextmanager
    def staging(self) -> Generator[Path]:
        """An empty folder that is removed again unless it is published."""
        parent = self.root / "staging"
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, staged: Path, kind: Kind, identifier: UUID) -> Path:
        """Move a staged folder to its final place, in one step."""
        target = self.folder(kind, identifier)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(target)
        return target

    def folder(self, kind: Kind, identifier: UUID) -> Path:
        """Final place of a resource."""
        return self.root / kind / str(identifier)

    def locate(self, path: str | None, kind: Kind, identifier: UUID) -> Path:
        """Where a dataset or checkpoint lies: at the operator's path if it was registered by path, or stored here."""
        return self.folder(kind, identifier) if path is None else Path(path)

    def remove(self, kind: Kind, identifier: UUID) -> None:
        """Delete a resource's files, if there are any."""
        shutil.rmtree(self.folder(kind, identifier), ignore_errors=True)

    def older_than(self, kind: Kind, seconds: float) -> list[UUID]:
        """Resources whose files were put in their place before that time."""
        limit = time.time() - seconds
        found: list[UUID] = []
        for folder in (self.root / kind).glob("*"):
            with suppress(ValueError, OSError):
                status = folder.stat()
                identifier = UUID(folder.name)
                if max(status.st_mtime, status.st_ctime) < limit:
                    found.append(identifier)
        return found

    def remove_stale_staging(self, older_than_seconds: float) -> int:
        """Delete what uploads cut off by a crash left behind; returns how many folders."""
        limit = time.time() - older_than_seconds
        stale = [path for path in (self.root / "staging").glob("*") if path.stat().st_mtime < limit]
        for path in stale:
            shutil.rmtree(path, ignore_errors=True)
        return len(stale)


def get_storage() -> Storage:
    """The store of this process."""
    return Storage(get_settings().storage_dir)
