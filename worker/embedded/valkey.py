"""A real Redis-compatible broker on a unix socket. It keeps nothing: jobs live in PostgreSQL."""

import os
import socket
from pathlib import Path

from worker.embedded.binaries import valkey_program
from worker.embedded.postgres import socket_folder
from worker.embedded.processes import Service


class EmbeddedValkey:
    """Valkey (or Redis) below the state folder."""

    def __init__(self, state: Path, log: Path):
        self.folder = state / "valkey"
        self.sockets = socket_folder(self.folder)
        self.socket = self.sockets / "valkey.sock"
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
        }
        command = [str(valkey_program()), *(part for name, value in options.items() for part in (f"--{name}", value))]
        self.service = Service("Valkey", command, log=log, environment=os.environ)

    @property
    def url(self) -> str:
        """For `REDIS_URL`."""
        return f"redis+socket://{self.socket}?virtual_host=0"

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            Unavailable: with the server's own words.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket.unlink(missing_ok=True)
        self.service.start()
        self.service.wait_until(self._answers, seconds=30)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
