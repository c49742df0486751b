"""The recipe of a run, top to bottom."""

from collections.abc import Callable

from detrdistill.config import DistillConfig, TrainConfig
from detrdistill.engine.guide import Guide
from detrdistill.engine.session import Paths, Session, Trained
from detrdistill.engine.train import Best, Report
from detrdistill.events import ModelReport, RunFinished, RunResult, StageChanged


def run(
    config: TrainConfig | DistillConfig,
    paths: Paths,
    report: Report,
    should_stop: Callable[[], bool] = lambda: False,
    alive: Callable[[], None] = lambda: None,
) -> RunResult:
    """Train or distil, evaluate, export. Started again on the same work directory, it resumes.

    Args:
        config: validated schema.
        paths: inputs and the work directory.
        report: receives every event, in order.
        should_stop: asked after every step; on true the run saves a checkpoint and raises `Stopped`.
        alive: called after every optimiser step, evaluated batch and phase of an export: the run makes progress.

    Raises:
        DetrDistillError: anything the user can mend; see `detrdistill.errors`.
    """
    session = Session(config, paths, report, should_stop, alive)
    report(StageChanged(stage="prepare"))
    student = session.new_student()
    guides: list[Guide] = []
    teachers: dict[str, ModelReport] = {}
    for name, wanted in config.guides.items() if isinstance(config, DistillConfig) else ():
        if wanted.teacher.source == "ema":
            guides.append(session.build_guide(name, session.own_average(name, student), student))
        else:
            teacher, coverage = session.load_teacher(name)
            guides.append(session.build_guide(name, teacher, student))
            report(StageChanged(stage="teacher_gate"))
            teachers[name] = session.pass_gate(name, teacher, coverage)

    report(StageChanged(stage="train_student"))
    best: dict[Trained, Best] = {"student": session.train("student", student, guides)}
    if isinstance(config, DistillConfig) and config.control:
        report(StageChanged(stage="train_control"))
        best["control"] = session.train("control", session.new_student(), [])

    report(StageChanged(stage="export"))
    rows: dict[Trained, ModelReport] = {role: session.verify(role, found) for role, found in best.items()}
    result = session.finish(rows, teachers)
    report(RunFinished(result=result))
    return result
