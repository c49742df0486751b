"""`/health`: is the service well."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.checking import repository as checkers
from api.db import DbSession
from api.errors import problems
from api.routing import ApiRoute
from api.settings import get_settings
from api.workers import repository as workers
from detrdistill import __version__

router = APIRouter(tags=["service"], route_class=ApiRoute)


class Health(BaseModel):
    """State of the service; a database that does not answer is a 503."""

    version: str
    workers: int = Field(description="workers seen lately; jobs wait while there is none")
    checkers: int = Field(description="checkers seen lately; datasets and checkpoints wait while there is none")
    check_warnings: list[str] = Field(description="bounds that the machine of a checker cannot give to its checks")


@router.get("/health", responses=problems(503))
def get_health(session: DbSession) -> Health:
    """Tell whether the service can work: the database answers, and how many workers and checkers there are."""
    within = get_settings().alive_seconds
    count, warnings = checkers.alive(session, within)
    return Health(version=__version__, workers=workers.alive(session, within), checkers=count, check_warnings=warnings)
