"""The recipe of a run, top to bottom."""

from collections.abc import Callable

from detrdistill.detectors.weights import Coverage
from detrdistill.engine.guide import Guide
from detrdistill.engine.session import Session, Trained
from detrdistill.engine.side_by_side import control_of, one_at_a_time
from detrdistill.engine.train import Best, Report
from detrdistill.events import ModelReport, RunFinished, RunResult, StageChanged
from detrdistill.schema.paths import Paths
from detrdistill.schema.run import DistillConfig, TrainConfig


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
    report = one_at_a_time(report)
    session = Session(config, paths, report, should_stop, alive)
    report(StageChanged(stage="prepare"))
    student = session.new_student()
    guides: list[Guide] = []
    coverage: dict[str, Coverage | None] = {}
    for name, wanted in config.guides.items() if isinstance(config, DistillConfig) else ():
        if wanted.teacher.source == "ema":
            guides.append(session.build_guide(name, session.own_average(name, student), student))
        else:
            teacher, coverage[name] = session.load_teacher(name)
            guides.append(session.build_guide(name, teacher, student))
    session.choose_threads(student, guides)

    teachers: dict[str, ModelReport] = {}
    for guide in guides:
        if guide.name in coverage:
            report(StageChanged(stage="teacher_gate"))
            teachers[guide.name] = session.pass_gate(guide.name, guide.teacher, coverage[guide.name])

    report(StageChanged(stage="train_student"))
    best: dict[Trained, Best] = {}
    with control_of(session) as train_control:
        best["student"] = session.train("student", student, guides)
        if train_control is not None:
            report(StageChanged(stage="train_control"))
            best["control"] = train_control()

    report(StageChanged(stage="export"))
    rows: dict[Trained, ModelReport] = {role: session.verify(role, found) for role, found in best.items()}
    result = session.finish(rows, teachers)
    report(RunFinished(result=result))
    return result
