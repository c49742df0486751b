"""How a method's weight changes in the course of training."""

from typing import get_args

import pytest
from pydantic import ValidationError

from detrdistill.engine.supervision import StepPosition, schedule_factor
from detrdistill.schema.run import MethodConfig
from detrdistill.schema.weighting import ScheduleConfig


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ({}, [1, 1, 1, 1]),
        ({"start": 0.25, "end": 0.75}, [0, 1, 1, 0]),
        ({"warmup": 0.5}, [0.25, 0.75, 1, 1]),
        ({"start": 0.25, "warmup": 0.5}, [0, 0.25, 0.75, 1]),
        ({"decay": "linear"}, [0.875, 0.625, 0.375, 0.125]),
        ({"decay": "cosine"}, [0.961940, 0.691342, 0.308658, 0.038060]),
        ({"warmup": 0.25, "end": 0.75, "decay": "linear"}, [0.5, 0.75, 0.25, 0]),
        ({"warmup": 1.0, "decay": "linear"}, [0.125, 0.375, 0.625, 0.875]),
    ],
)
def test_factors_by_hand(schedule: dict[str, object], factors: list[float]):
    """The middles of four steps: 1/8, 3/8, 5/8 and 7/8 of the training."""
    kwargs = ScheduleConfig.model_validate(schedule).model_dump()
    found = [schedule_factor(StepPosition(step, total_steps=4).fraction, **kwargs) for step in range(4)]
    assert found == pytest.approx(factors, abs=1e-6)


@pytest.mark.parametrize("wrong", [{"start": 0.5, "end": 0.5}, {"start": 0.5, "warmup": 0.6}, {"end": 1.5}])
def test_times_out_of_order_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValidationError):
        ScheduleConfig.model_validate(wrong)


def test_every_method_has_a_schedule():
    for config in get_args(get_args(MethodConfig)[0]):
        assert config.model_fields["schedule"].default == ScheduleConfig()
