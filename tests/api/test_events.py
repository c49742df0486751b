"""The events of a job are declared in one place, and sent."""

import ast
import json
import re
from typing import Literal, get_args

import pytest
from pydantic import BaseModel

from api import openapi
from api.jobs.events import EVENTS, StateChanged, data_of
from api.jobs.states import JobState
from detrdistill.events import CURVES, STAGES, Stage
from tests.support.events import step
from tests.support.factories import criterion_of
from tests.support.source import calls
from worker.reporter import _curve_points


def test_an_event_that_is_not_declared_is_not_sent():
    class Guessed(BaseModel):
        kind: Literal["state"] = "state"

    with pytest.raises(ValueError, match="not declared"):
        data_of(Guessed())  # pyright: ignore[reportArgumentType]


def test_nothing_but_add_events_writes_to_the_log():
    """It takes declared events alone."""
    writes = {
        path
        for path, name, call in calls()
        for argument in call.args
        if name == "JobEvent" or (name in ("insert", "add") and ast.unparse(argument).startswith("JobEvent"))
    }
    assert writes == {"api/jobs/repository.py"}


@pytest.mark.parametrize("name", EVENTS)
def test_every_declared_event_is_sent_by_somebody(name: str):
    assert EVENTS[name].__name__ in {called for _, called, _ in calls()}


def test_the_description_of_the_stream_names_what_is_declared():
    description = json.loads(openapi.document())["paths"]["/jobs/{job_id}/events"]["get"]["description"]
    [names] = re.findall(r"Names:\s(.*?);", description, re.DOTALL)
    assert re.findall(r"`(\w+)`", names) == list(EVENTS)


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_and_field_is_described(name: str):
    model = EVENTS[name]
    assert model.__doc__
    assert [field for field, facts in model.model_fields.items() if field != "kind" and not facts.description] == []


def test_a_change_of_state_says_only_what_applies():
    assert data_of(StateChanged(state=JobState.QUEUED, waiting_for=[])) == {"state": "queued", "waiting_for": []}


def test_every_stage_has_its_words():
    assert list(STAGES) == list(get_args(Stage))


def test_every_curve_of_a_run_is_declared():
    """Those of the methods are declared with the methods."""
    terms = [f"{name}.{term}" for name, curve in CURVES.items() for term in curve.terms]
    assert terms == list(criterion_of().weights())
    drawn = [point["name"] for point in _curve_points("a job", step(1))]
    assert sorted(drawn) == sorted(name for name, curve in CURVES.items() if not curve.terms)
