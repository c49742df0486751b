"""Events as a run sends them."""

from detrdistill.events import StepLogged


def step(number: int) -> StepLogged:
    return StepLogged(
        role="student",
        step=number,
        total_steps=100,
        epoch=1.0,
        lr=1e-3,
        grad_norm=1.0,
        losses={"total": 1.0},
        weights={},
        images_per_second=1.0,
        progress=number / 100,
        eta_seconds=1.0,
    )
