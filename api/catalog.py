"""`/catalog`: what the service offers, and the facts about it that dashboard and documentation are made from.

Nothing is told here: each view shows a table of the core or of the api as it is.
"""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.error_codes import ERRORS, Place
from api.jobs.events import EVENTS
from api.routing import ApiRoute
from detrdistill.catalog import CATALOG, Family, FamilyName
from detrdistill.events import CURVES, STAGES, Stage
from detrdistill.schema.method_table import METHODS, VARIANT_TITLES, MethodInfo, MethodKind, Signal
from detrdistill.schema.recipes import RECIPES, Recipe, RecipeName
from detrdistill.schema.run import DEFAULT_METHODS

router = APIRouter(tags=["service"], route_class=ApiRoute)


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

    @classmethod
    def of(cls, name: FamilyName, family: Family) -> "FamilyView":
        """The view of a family of the core."""
        sizes = [
            SizeView(
                name=size_name,
                description=size.description,
                decoder_layers=size.decoder_layers,
                queries=size.queries,
                width=size.width,
            )
            for size_name, size in family.sizes.items()
        ]
        return cls(name=name, title=family.title, paper=family.paper, licence=family.licence, sizes=sizes)


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

    @classmethod
    def of(cls, name: RecipeName, recipe: Recipe) -> "RecipeView":
        """The view of a recipe of the core."""
        return cls(
            name=name,
            title=recipe.title,
            teacher=recipe.teacher,
            source=recipe.source,
            sources=dict(recipe.sources),
            needs_checkpoint=recipe.needs_checkpoint,
            config=dict(recipe.config),
        )


class MethodFieldView(BaseModel):
    """A field of a method's configuration."""

    name: str
    description: str
    default: Any = Field(description="where nothing is said")
    by_variant: dict[str, Any] = Field(description="its default in each variant; empty where the method has none")


class MethodView(BaseModel):
    """A distillation method: an entry of `methods` in the configuration of a distill job."""

    kind: MethodKind
    title: str
    paper: str
    summary: str = Field(description="what it does and when to use it")
    variant_field: Literal["variant", "form"] | None = Field(
        description="field that chooses between the variants; null: there are none"
    )
    variants: list[str] = Field(description="the default first")
    variant_titles: dict[str, str] = Field(description="each variant in words for people")
    default_variant: str | None
    is_default: bool = Field(description="a distill job uses it where no methods are named")
    terms: list[str] = Field(description="its loss terms are the curves `<kind>.<term>`, by variant not all of them")
    needs: list[Signal] = Field(
        description="what the teacher must give; a black box gives boxes and scores alone. With the default fields"
    )
    fields: list[MethodFieldView]

    @classmethod
    def of(cls, info: MethodInfo, *, is_default: bool) -> "MethodView":
        """The view of a method of the core; its defaults are what its schema makes of nothing but a variant."""
        default = info.defaults()
        by_variant = {variant: info.defaults(variant) for variant in info.variants}
        return cls(
            kind=info.kind,
            title=info.title,
            paper=info.paper,
            summary=info.summary,
            variant_field=info.variant_field,
            variants=list(info.variants),
            variant_titles={variant: VARIANT_TITLES[variant] for variant in info.variants},
            default_variant=info.default_variant,
            is_default=is_default,
            terms=list(info.terms),
            needs=list(info.needs),
            fields=[
                MethodFieldView(
                    name=name,
                    description=_in_one_line(field.description),
                    default=default[name],
                    by_variant={variant: values[name] for variant, values in by_variant.items()},
                )
                for name, field in info.config.model_fields.items()
                if name != "kind"
            ],
        )


class CurveView(BaseModel):
    """A training curve that does not belong to a method."""

    name: str
    title: str
    terms: list[str] = Field(description="the curves are `<name>.<term>`; empty: the curve is `<name>` itself")


class StageView(BaseModel):
    """A stage of a run."""

    name: Stage
    title: str
    activity: str = Field(description="what the run does meanwhile")


class EventFieldView(BaseModel):
    """A field of an event's data."""

    name: str
    description: str


class EventView(BaseModel):
    """An event of `GET /jobs/{id}/events`."""

    name: str
    description: str
    fields: list[EventFieldView] = Field(description="beside `at` and `job_id`, which every event has")

    @classmethod
    def of(cls, name: str, model: type[BaseModel]) -> "EventView":
        """The view of a declared event."""
        fields = [
            EventFieldView(name=field, description=_in_one_line(facts.description))
            for field, facts in model.model_fields.items()
            if field != "kind"
        ]
        return cls(name=name, description=_in_one_line(model.__doc__), fields=fields)


class ErrorView(BaseModel):
    """An error code."""

    code: str
    statuses: list[int] = Field(description="HTTP statuses of answers that have it; empty: it is no answer")
    places: list[Place] = Field(
        description="`request`: an answer; `check`: `error` of a dataset or checkpoint; `job`: `error` of a job; "
        "`run`: a run on the command line alone"
    )
    title: str
    remedy: str = Field(description="what to do")


class Catalog(BaseModel):
    """What can be trained, and what the names of the service mean."""

    families: list[FamilyView]
    recipes: list[RecipeView]
    methods: list[MethodView] = Field(description="in the order to show them")
    stages: list[StageView] = Field(
        description="in their order; a run without a teacher or without a control leaves theirs out"
    )
    events: list[EventView]
    curves: list[CurveView] = Field(description="in the order to show them; those of the methods are in `methods`")
    errors: list[ErrorView]


@router.get("/catalog")
def get_catalog() -> Catalog:
    """List what can be trained (detector families, sizes, recipes, methods) and what stages, events, curves and error
    codes mean.
    """
    used = {method.kind for method in DEFAULT_METHODS}
    return Catalog(
        families=[FamilyView.of(name, family) for name, family in CATALOG.items()],
        recipes=[RecipeView.of(name, recipe) for name, recipe in RECIPES.items()],
        methods=[MethodView.of(info, is_default=kind in used) for kind, info in METHODS.items()],
        stages=[StageView(name=name, title=stage.title, activity=stage.activity) for name, stage in STAGES.items()],
        events=[EventView.of(name, model) for name, model in EVENTS.items()],
        curves=[CurveView(name=name, title=curve.title, terms=list(curve.terms)) for name, curve in CURVES.items()],
        errors=[
            ErrorView(
                code=code,
                statuses=list(error.statuses),
                places=list(error.places),
                title=error.title,
                remedy=error.remedy,
            )
            for code, error in ERRORS.items()
        ],
    )


def _in_one_line(text: str | None) -> str:
    """A text of the source without its line breaks."""
    return " ".join((text or "").split())
