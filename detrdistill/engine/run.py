"""The recipe of a run, top to bottom."""

from collections.abc import Callable

from detrdistill.config import DistillConfig, TrainConfig
from detrdistill.engine.guide import Guide
from detrdistill.engine.session import Paths, Session, Trained
from detrdistill.engine.train import Best, Report
from detrdistill.events import ModelReport, Role, RunFinished, RunResult, StageChanged


def run(
    config: TrainConfig | DistillConfig,
    paths: Paths,
    report: Report,
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Train or distil, evaluate, export. Started again on the same work directory, it resumes.

    Args:
        config: validated schema.
        paths: inputs and the work directory.
        report: receives every event, in order.
        should_stop: asked after every step; on true the run saves a checkpoint and raises `Stopped`.

    Raises:
        DetrDistillError: anything the user can mend; see `detrdistill.errors`.
    """
    session = Session(config, paths, report, should_stop)
    report(StageChanged(stage="prepare"))
    student = session.new_student()
    rows: dict[Role, ModelReport] = {}
    guides: list[Guide] = []
    if isinstance(config, DistillConfig):
        if config.teacher.source == "ema":
            guides.append(session.build_guide(config, session.own_average(student), student))
        else:
            teacher, coverage = session.load_teacher()
            guides.append(session.build_guide(config, teacher, student))
            report(StageChanged(stage="teacher_gate"))
            rows["teacher"] = session.pass_gate(config, teacher, coverage)

    report(StageChanged(stage="train_student"))
    best: dict[Trained, Best] = {"student": session.train("student", student, guides)}
    if isinstance(config, DistillConfig) and config.control:
        report(StageChanged(stage="train_control"))
        best["control"] = session.train("control", session.new_student(), [])

    report(StageChanged(stage="export"))
    for role, found in best.items():
        rows[role] = session.verify(role, found)
    result = session.finish(rows)
    report(RunFinished(result=result))
    return result
