"""`python -m worker.embedded`: start the whole stack, keep it running until Ctrl-C."""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from worker.embedded.binaries import Unavailable
from worker.embedded.stack import Stack


def main() -> int:
    """Run until SIGINT or SIGTERM; exit status 1 with a message if it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m worker.embedded", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path(".run"), help="folder of all data and logs")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on")
    options = parser.parse_args()
    stop = threading.Event()

    def ask_to_stop(*_: object) -> None:
        if stop.is_set():
            os._exit(130)  # the second Ctrl-C: children end with their parent
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    stack = Stack(options.state, options.host, options.port, lambda line: print(line, flush=True))
    try:
        stack.start()
        print(f"\n  dashboard  {stack.url}\n  API        {stack.url}/docs\n  logs       {stack.logs}\n")
        print("Ctrl-C stops it; data and jobs are kept.", flush=True)
        while not stop.wait(1):
            stack.watch()
    except Unavailable as error:
        print(f"detrdistill cannot run: {error}", file=sys.stderr)
        return 1
    finally:
        if stop.is_set():
            print("\nstopping; a running job first writes a checkpoint (Ctrl-C again: at once)", flush=True)
        stack.stop()
    print("stopped", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
