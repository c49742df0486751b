"""One step of every family and variant: gradients reach the student, never the teacher."""

import pytest
import torch

from detrdistill.data.dataset import Batch
from detrdistill.data.transforms import DetectorInput
from detrdistill.detectors.batch_norms import freeze_batch_norms
from detrdistill.detectors.build import make_trainable
from detrdistill.detectors.detector import Detector
from detrdistill.engine.components import build_criterion, build_methods, shape_of
from detrdistill.engine.optimizer import StudentWithEma, moving_average
from detrdistill.engine.step import LossStep
from detrdistill.engine.supervision import ScheduledMethod, StepPosition, TeacherSupervision
from detrdistill.engine.teacher import Teacher
from detrdistill.methods.method import Method
from detrdistill.schema.run import RUN_CONFIG, DistillConfig
from detrdistill.schema.weighting import ScheduleConfig
from tests.support.factories import DETECTORS, SIDE, methods_in, targets_of, tiny_detector, with_methods

BATCH = Batch(
    inputs=(torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),),
    targets=(targets_of([0, 2], [[0.3, 0.3, 0.2, 0.2], [0.6, 0.6, 0.3, 0.2]]), targets_of([], [])),
    image_ids=(1, 2),
)
HALFWAY = StepPosition(step=0, total_steps=1)
"""Where every method of a default schedule is active."""


def methods_config(variant: str, source: str | None = None) -> DistillConfig:
    features = {"kind": "target_features", "variant": variant} | ({"source": source} if source else {})
    config = RUN_CONFIG.validate_python(
        {
            "kind": "distill",
            "methods": [
                {"kind": "matched_logits", "variant": variant},
                features,
                {"kind": "query_prior", "variant": variant},
            ],
        }
    )
    assert isinstance(config, DistillConfig)
    return config


def step_of(student: Detector, teacher: Detector, config: DistillConfig) -> LossStep:
    criterion = build_criterion(config.criterion, student)
    methods = build_methods(methods_in(config), shape_of(teacher), shape_of(student), criterion, seed=0)
    make_trainable(student)
    student.train()
    inputs = [DetectorInput(student.preprocessing)]
    teacher.preprocessing = student.preprocessing
    supervision = TeacherSupervision(Teacher(teacher, tuple(range(3))), [ScheduledMethod(method) for method in methods])
    return LossStep(student, criterion, [supervision], inputs, None, torch.device("cpu"))


def methods_of(step: LossStep) -> list[Method]:
    return [scheduled.method for supervision in step.supervisions for scheduled in supervision.methods]


@pytest.mark.parametrize("variant", ["official", "paper"])
@pytest.mark.parametrize("architecture", DETECTORS, ids=" ".join)
def test_gradients_reach_the_student_and_the_projections_only(architecture: tuple[str, str], variant: str):
    """Every term is finite, and nothing of the teacher is trained."""
    # the neck of DEIMv2 is as wide as the backbone, not as the queries
    source = "memory" if architecture[0] == "deimv2" else None
    student = tiny_detector(*architecture, queries=8)
    teacher = tiny_detector(*architecture, queries=12, layers=3, seed=1)
    step = step_of(student, teacher, methods_config(variant, source))
    losses = step(BATCH, HALFWAY)
    losses.total.backward()
    assert all(torch.isfinite(term) for term in losses.terms.values())
    assert {name.split(".")[0] for name in losses.terms} >= {
        "detection",
        "matched_logits",
        "target_features",
        "query_prior",
    }
    for name, weight in student.named_parameters():
        assert not weight.requires_grad or weight.grad is not None, name
    for method in methods_of(step):
        for name, weight in method.named_parameters():
            assert weight.grad is not None, f"{method.name}.{name}"
    assert all(weight.grad is None and not weight.requires_grad for weight in teacher.parameters())


def test_a_teacher_of_another_width_is_projected():
    student = tiny_detector("rt-detr-v2", queries=8)
    teacher = tiny_detector("deimv2", queries=12)
    step = step_of(student, teacher, methods_config("paper"))
    step(BATCH, HALFWAY).total.backward()
    assert {name for method in methods_of(step) for name, _ in method.named_parameters()} != set()


@pytest.mark.parametrize(
    ("teacher", "student"),
    [
        ("d-fine", "lw-detr"),
        ("rf-detr", "d-fine"),
        ("yolos", "rf-detr"),
        ("lw-detr", "yolos"),
        ("lw-detr", "deformable-detr"),
    ],
)
def test_families_teach_each_other(teacher: str, student: str):
    """Queries without a position, without a reference, or with references beyond the image are completed."""
    config = methods_config("paper")
    if student == "yolos":  # independent scores are no distribution with 'no object'
        boxes_only = methods_in(config)[0].model_copy(update={"class_weight": 0.0})
        config = with_methods(config, [boxes_only, *methods_in(config)[1:]])
    step = step_of(tiny_detector(student, queries=8), tiny_detector(teacher, queries=12, seed=1), config)
    losses = step(BATCH, HALFWAY)
    losses.total.backward()
    assert {f"query_prior.{term}" for term in ("classification", "l1", "giou")} <= set(losses.terms)
    for method in methods_of(step):
        for name, weight in method.named_parameters():
            assert weight.grad is not None, f"{method.name}.{name}"


@pytest.mark.parametrize(
    ("teacher", "student"),
    [
        ("detr nano", "conditional-detr nano"),  # softmax to sigmoid scores, positions to positions
        ("table-transformer nano", "dab-detr nano"),  # positions to boxes
        ("dab-detr nano", "deformable-detr nano"),  # boxes to positions and points
        ("conditional-detr nano", "deformable-detr nano-two-stage"),  # positions to positions and boxes
        ("deformable-detr nano-two-stage", "conditional-detr nano"),
    ],
)
def test_the_classic_families_teach_each_other(teacher: str, student: str):
    taught = tiny_detector(*student.split(), queries=8)
    step = step_of(taught, tiny_detector(*teacher.split(), queries=12, layers=3, seed=1), methods_config("paper"))
    step(BATCH, HALFWAY).total.backward()
    for weight in (*taught.parameters(), *(weight for method in methods_of(step) for weight in method.parameters())):
        assert not weight.requires_grad or (weight.grad is not None and weight.grad.isfinite().all())


def test_a_teacher_in_training_mode_is_noticed():
    teacher = Teacher(tiny_detector("rt-detr"), (0, 1, 2))
    teacher.detector.train()
    with pytest.raises(AssertionError, match="evaluation mode"):
        teacher(torch.zeros(1, 3, SIDE, SIDE))


def test_the_teacher_is_out_of_reach_and_answers_the_same_twice():
    """Training mode of the student's parts does not touch it, two forward passes are bit-equal."""
    student, teacher = tiny_detector("rt-detr", queries=8), tiny_detector("rt-detr", seed=1)
    step = step_of(student, teacher, methods_config("official"))
    step(BATCH, HALFWAY)
    assert not teacher.training
    pixels = torch.rand(1, 3, SIDE, SIDE)
    taught = step.supervisions[0].teacher
    assert torch.equal(taught(pixels).logits_LBQC, taught(pixels).logits_LBQC)


def test_teacher_as_student_without_dropout_costs_only_the_entropy():
    """Through the whole step: box and feature terms vanish, the class term is at its floor."""
    student, teacher = tiny_detector("rt-detr-v2"), tiny_detector("rt-detr-v2")
    config = methods_config("official")
    unclamped = methods_in(config)[0].model_copy(
        update={"clamp_teacher_boxes": False}
    )  # these weights see beyond the edge
    step = step_of(student, teacher, with_methods(config, [unclamped, *methods_in(config)[1:]]))
    student.eval()
    terms = step(BATCH, HALFWAY).terms
    for name in (
        "matched_logits.classification",
        "matched_logits.l1",
        "matched_logits.giou",
        "target_features.features",
    ):
        assert float(terms[name]) == pytest.approx(0, abs=1e-4), name


def test_unmapped_teacher_classes_have_no_influence():
    """A teacher of three classes serves two; its class 1 is nobody's."""
    detector = tiny_detector("rt-detr")
    teacher = Teacher(detector, (2, 0))
    pixels = torch.rand(1, 3, SIDE, SIDE)
    mapped, full = teacher(pixels).logits_LBQC, detector(pixels).logits_LBQC
    assert torch.equal(mapped, full[..., [2, 0]])


def test_a_method_outside_its_schedule_is_not_computed_and_a_teacher_without_methods_not_run():
    student, teacher = tiny_detector("rt-detr", queries=8), tiny_detector("rt-detr", seed=1)
    step = step_of(student, teacher, methods_config("official"))
    logits, features, prior = step.supervisions[0].methods
    late = [
        ScheduledMethod(logits.method, ScheduleConfig(start=0.5)),
        ScheduledMethod(features.method, ScheduleConfig(start=0.75)),
    ]
    supervision = TeacherSupervision(
        step.supervisions[0].teacher, [*late, ScheduledMethod(prior.method, ScheduleConfig(start=0.5, end=0.75))]
    )
    step = LossStep(student, step.criterion, [supervision], step.transforms, None, step.device)
    passes: list[object] = []
    teacher.register_forward_hook(lambda *_: passes.append(_))
    active = [{name.split(".")[0] for name in step(BATCH, StepPosition(now, total_steps=4)).terms} for now in range(4)]
    own = {"detection", "proposal", "denoising"}
    assert active == [own, own, own | {"matched_logits", "query_prior"}, own | {"matched_logits", "target_features"}]
    assert len(passes) == 2


def test_a_schedule_multiplies_the_weights_of_a_method():
    """Half of the rise in the second of four steps: (1.5 - 0) / 4 of the training over a rise of 0.75."""
    student, teacher = tiny_detector("rt-detr", queries=8), tiny_detector("rt-detr", seed=1)
    step = step_of(student, teacher, methods_config("official"))
    scheduled = ScheduledMethod(step.supervisions[0].methods[0].method, ScheduleConfig(warmup=0.75))
    step = LossStep(
        student,
        step.criterion,
        [TeacherSupervision(step.supervisions[0].teacher, [scheduled])],
        step.transforms,
        None,
        step.device,
    )
    losses = step(BATCH, StepPosition(1, total_steps=4))
    weights = step.criterion.weights() | {name: 0.5 * weight for name, weight in scheduled.method.weights().items()}
    by_hand = sum(weights[name] * float(term) for name, term in losses.terms.items())
    assert float(losses.total.detach()) == pytest.approx(by_hand, rel=1e-5)


def test_the_average_as_teacher_follows_the_student():
    student = tiny_detector("rt-detr", queries=8)
    average = moving_average(student, decay=0.5)
    teacher = Teacher(StudentWithEma(student, average).eval_model, (0, 1, 2))
    pixels = torch.rand(1, 3, SIDE, SIDE)
    before = teacher(pixels).logits_LBQC
    for _ in range(2):  # the first update copies
        with torch.no_grad():
            for weight in student.parameters():
                weight.add_(0.01)
        average.update_parameters(student)
    after = teacher(pixels).logits_LBQC
    assert not torch.equal(after, before)
    expected = tiny_detector("rt-detr", queries=8).eval()
    expected.load_state_dict(average.module.state_dict())
    assert torch.equal(after, expected(pixels).logits_LBQC)
    assert not torch.equal(after, student.eval()(pixels).logits_LBQC)


def test_frozen_batch_norms_keep_their_statistics():
    detector = tiny_detector("rt-detr").train()
    before = {name: value.clone() for name, value in detector.named_buffers() if "running" in name}
    freeze_batch_norms(detector)
    detector(torch.rand(2, 3, SIDE, SIDE))
    assert all(torch.equal(value, before[name]) for name, value in detector.named_buffers() if "running" in name)
