"""`/health` and `/catalog`: is the service well, and what does it offer."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.checking import repository as checkers
from api.db import DbSession
from api.errors import problems
from api.routing import ApiRoute
from api.settings import get_settings
from api.workers import repository as workers
from detrdistill import __version__
from detrdistill.catalog import CATALOG, FamilyName
from detrdistill.schema.recipes import RECIPES, RecipeName

router = APIRouter(tags=["service"], route_class=ApiRoute)


class Health(BaseModel):
    """State of the service; a database that does not answer is a 503."""

    version: str
    workers: int = Field(description="workers seen lately; jobs wait while there is none")
    checkers: int = Field(description="checkers seen lately; data sets and checkpoints wait while there is none")
    check_warnings: list[str] = Field(description="bounds that the machine of a checker cannot give to its checks")


class SizeView(BaseModel):
    """One size of a family."""

    name: str
    description: str
    decoder_layers: int
    queries: int
    width: int


class FamilyView(BaseModel):
    """A detector family."""

    name: FamilyName
    title: str
    paper: str
    licence: str = Field(description="of the published weights; a student may inherit its teacher's terms")
    sizes: list[SizeView]


class RecipeView(BaseModel):
    """A named configuration: `"config": {"kind": "distill", "recipe": "rt-detr-v2-r18"}` of `POST /jobs`."""

    name: RecipeName
    title: str
    teacher: str = Field(description="the teacher it was made for")
    source: str
    sources: dict[str, str] = Field(description="where each value of `config` was published, by its JSON pointer")
    needs_checkpoint: bool = Field(
        description="it trains a backbone that is trained already: its student must start from a checkpoint "
        "(`student_id`, with `student` null)"
    )
    config: dict[str, Any] = Field(description="the fields it fills; what a request gives comes before them")


class Catalog(BaseModel):
    """What can be trained."""

    families: list[FamilyView]
    recipes: list[RecipeView]


@router.get("/health", responses=problems(503))
def get_health(session: DbSession) -> Health:
    """Tell whether the service can work: the database answers, and how many workers and checkers there are."""
    within = get_settings().alive_seconds
    count, warnings = checkers.alive(session, within)
    return Health(version=__version__, workers=workers.alive(session, within), checkers=count, check_warnings=warnings)


@router.get("/catalog")
def get_catalog() -> Catalog:
    """List the detector families and sizes a student can have, and the recipes."""
    return Catalog(
        families=[
            FamilyView(
                name=name,
                title=family.title,
                paper=family.paper,
                licence=family.licence,
                sizes=[
                    SizeView(
                        name=size_name,
                        description=size.description,
                        decoder_layers=size.decoder_layers,
                        queries=size.queries,
                        width=size.width,
                    )
                    for size_name, size in family.sizes.items()
                ],
            )
            for name, family in CATALOG.items()
        ],
        recipes=[
            RecipeView(
                name=name,
                title=recipe.title,
                teacher=recipe.teacher,
                source=recipe.source,
                sources=dict(recipe.sources),
                needs_checkpoint=recipe.needs_checkpoint,
                config=dict(recipe.config),
            )
            for name, recipe in RECIPES.items()
        ],
    )
