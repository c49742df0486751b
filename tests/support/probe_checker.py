"""`python -m tests.support.probe_checker`: a checker whose checks misbehave, and which need no libraries."""

from api.db import get_engine
from api.settings import get_settings
from worker.checker.checker import Checker
from worker.checker.client import CheckServer

if __name__ == "__main__":
    server = CheckServer("tests.support.probes")
    Checker(get_engine(), get_settings(), server, "probes").run(lambda: False)
