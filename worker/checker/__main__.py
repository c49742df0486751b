"""`python -m worker.checker`: check datasets and checkpoints until SIGTERM or Ctrl-C."""

import logging
import os
import signal
import socket
import threading

from api.db import get_engine
from api.settings import get_settings
from worker.checker.checker import Checker
from worker.checker.client import CheckServer
from worker.checker.isolation import hide_memory


def main() -> None:
    """Run one checker."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    hide_memory()  # a check runs as the same user; it must not find the database's password here
    stop = threading.Event()

    def ask_to_stop(*_: object) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    server = CheckServer()
    name = f"checker-{os.getpid()}@{socket.gethostname()}"
    try:
        Checker(get_engine(), get_settings(), server, name).run(stop.is_set)
    finally:
        server.close()


if __name__ == "__main__":
    main()
