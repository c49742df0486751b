import pytest
import torch

from detrdistill.outputs import DetectorOutput, Queries
from tests.support.factories import criterion_of, inputs_of, method_of, output_of, shape_like, targets_of

BOX = [0.5, 0.5, 0.2, 0.2]
LEFT = [0.4, 0.5, 0.2, 0.2]
FAR = [0.1, 0.1, 0.1, 0.1]
TARGETS = [targets_of([0], [BOX])]


def method_for(teacher: DetectorOutput, student: DetectorOutput, **kwargs):
    fields = {"assignment": "student", "group": "second_pass", "reference": "student"} | kwargs
    return method_of("query_prior", shape_like(teacher), shape_like(student), **fields)


def terms_of(teacher: DetectorOutput, group: DetectorOutput, assignment: str) -> dict[str, float]:
    criterion = criterion_of()
    method = method_for(teacher, group, criterion=criterion, assignment=assignment)
    inputs = inputs_of(group, teacher, TARGETS, extra_predictions=(group,), criterion=criterion)
    return {name.removeprefix("query_prior."): float(value) for name, value in method(inputs).items()}


@pytest.mark.parametrize("assignment", ["teacher_layer", "teacher_last"])
def test_the_teacher_assigns_query_0_although_the_student_would_not(assignment: str):
    """By hand: query 0 is 0.1 to the left of the ground truth, which the teacher gives to it."""
    teacher = output_of([[0.0], [0.0]], [BOX, FAR])
    group = output_of([[0.0], [0.0]], [LEFT, BOX])
    terms = terms_of(teacher, group, assignment)
    assert 5 * terms["l1"] == pytest.approx(0.5, abs=1e-5)
    assert 2 * terms["giou"] == pytest.approx(1.333333, abs=1e-5)


def test_the_student_would_assign_query_1():
    """As in the released code: its query 1 lies on the ground truth and costs nothing."""
    teacher = output_of([[0.0], [0.0]], [BOX, FAR])
    terms = terms_of(teacher, output_of([[0.0], [0.0]], [LEFT, BOX]), "student")
    assert terms["l1"] == pytest.approx(0, abs=1e-6)
    assert terms["giou"] == pytest.approx(0, abs=1e-6)


def test_the_class_target_follows_the_assignment():
    """A confident query 0 is right for the teacher's assignment and wrong for the student's."""
    teacher = output_of([[0.0], [0.0]], [BOX, FAR])
    group = output_of([[8.0], [-8.0]], [LEFT, BOX])
    assert terms_of(teacher, group, "teacher_layer")["classification"] < 1e-3


def test_each_student_layer_takes_the_last_teacher_layer_of_its_group():
    """Three teacher layers, two student layers: the second is supervised by the third's assignment."""
    teacher = output_of(torch.zeros(3, 2, 1), [[BOX, FAR], [BOX, FAR], [FAR, BOX]])
    group = output_of(torch.zeros(2, 2, 1), [[BOX, FAR], [FAR, BOX]])
    assert terms_of(teacher, group, "teacher_layer")["l1"] == pytest.approx(0, abs=1e-6)
    assert terms_of(teacher, group, "teacher_last")["l1"] > 0.5


def test_queries_are_projected_and_carry_no_gradient_to_the_teacher():
    content = torch.randn(1, 2, 4, requires_grad=True)
    reference = torch.rand(1, 2, 4, requires_grad=True)
    teacher = output_of([[0.0], [0.0]], [BOX, FAR], hidden=torch.zeros(1, 2, 4))
    teacher = DetectorOutput(
        teacher.logits_LBQC, teacher.boxes_LBQ4, teacher.hidden_LBQD, Queries(content, None, reference)
    )
    student = output_of([[0.0], [0.0]], [BOX, FAR], hidden=torch.zeros(1, 2, 3))
    method = method_for(teacher, student)
    (queries,) = method.student_queries(teacher, None).queries
    assert queries.content_BQD.shape == (1, 2, 3)
    queries.content_BQD.sum().backward()
    assert content.grad is None
    assert queries.reference_BQK is not None
    assert not queries.reference_BQK.requires_grad
    assert method.bridge.content.weight.grad is not None


def test_a_teacher_of_points_gives_its_first_boxes_to_a_student_of_boxes():
    teacher = output_of(torch.zeros(2, 2, 1), [[BOX, FAR], [FAR, BOX]])
    points = Queries(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), torch.rand(1, 2, 2))
    teacher = DetectorOutput(teacher.logits_LBQC, teacher.boxes_LBQ4, teacher.hidden_LBQD, points)
    method = method_for(teacher, teacher, reference="teacher")
    (queries,) = method.student_queries(teacher, None).queries
    torch.testing.assert_close(queries.reference_BQK, torch.tensor([[BOX, FAR]]))
