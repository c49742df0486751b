"""The recipe of a run, top to bottom."""

from collections.abc import Callable

from detrdistill.detectors.weights import Coverage
from detrdistill.engine.context import RunContext, Trained
from detrdistill.engine.side_by_side import control_of, one_at_a_time
from detrdistill.engine.supervision import TeacherSupervision
from detrdistill.engine.train import Best, Report
from detrdistill.events import ModelReport, RunFinished, RunResult, StageChanged
from detrdistill.schema.paths import RunPaths
from detrdistill.schema.run import DistillConfig, TrainConfig


def run(
    config: TrainConfig | DistillConfig,
    paths: RunPaths,
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
    context = RunContext(config, paths, report, should_stop, alive)
    report(StageChanged(stage="prepare"))
    student = context.new_student()
    supervisions: list[TeacherSupervision] = []
    coverage: dict[str, Coverage | None] = {}
    for name, teacher_config in config.teachers.items() if isinstance(config, DistillConfig) else ():
        if teacher_config.source == "ema":
            supervisions.append(context.build_supervision(name, context.ema_teacher(name, student), student))
        else:
            teacher, coverage[name] = context.load_teacher(name)
            supervisions.append(context.build_supervision(name, teacher, student))
    context.choose_threads(student, supervisions)

    teachers: dict[str, ModelReport] = {}
    for supervision in supervisions:
        if supervision.name in coverage:
            report(StageChanged(stage="teacher_gate"))
            teachers[supervision.name] = context.pass_gate(
                supervision.name, supervision.teacher, coverage[supervision.name]
            )

    report(StageChanged(stage="train_student"))
    best: dict[Trained, Best] = {}
    with control_of(context) as train_control:
        best["student"] = context.train("student", student, supervisions)
        if train_control is not None:
            report(StageChanged(stage="train_control"))
            best["control"] = train_control()

    report(StageChanged(stage="export"))
    rows: dict[Trained, ModelReport] = {role: context.verify(role, found) for role, found in best.items()}
    result = context.finish(rows, teachers)
    report(RunFinished(result=result))
    return result
