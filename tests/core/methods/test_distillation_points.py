import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from detrdistill.errors import ConfigError
from detrdistill.outputs import DetectorOutput, Queries
from detrdistill.schema.methods import DistillationPointsConfig as Config
from tests.support.factories import inputs_of, method_of, output_of, shape_like, targets_of

BOX = [0.5, 0.5, 0.2, 0.2]
FAR = [0.1, 0.1, 0.1, 0.1]
NOTHING = [targets_of([], [])]


def method_for(teacher: DetectorOutput, student: DetectorOutput, **kwargs):
    fields = {"general": 300, "class_form": "softmax_kl", "layers": "teacher_last"} | kwargs
    return method_of("distillation_points", shape_like(teacher), shape_like(student), **fields)


def terms_of(
    teacher: DetectorOutput, group: DetectorOutput, teacher_predictions: DetectorOutput | None = None, **kwargs
) -> dict[str, float]:
    kwargs = {"general": 0 if teacher_predictions is None else 1} | kwargs
    method = method_for(teacher, group, **kwargs)
    terms = method(
        inputs_of(group, teacher, NOTHING, extra_predictions=(group,), teacher_predictions=teacher_predictions)
    )
    return {name.removeprefix("distillation_points."): float(value) for name, value in terms.items()}


def test_one_point_by_hand():
    """By hand, at T = 10. The one weight, 0.952574, is normalised away."""
    terms = terms_of(output_of([[3.0, -1.0]], [BOX]), output_of([[1.0, 0.0]], [[0.6, 0.5, 0.2, 0.2]]))
    assert terms["classification"] == pytest.approx(1.098771, abs=1e-5)
    assert terms["l1"] == pytest.approx(0.1, abs=1e-6)
    assert terms["giou"] == pytest.approx(1 - 1 / 3, abs=1e-5)  # IoU 0.1 / 0.3; the hull is the union


def test_points_weigh_as_the_teacher_is_confident():
    """The weight is 0.952574 for logit 3, and 0.5 for logit 0."""
    teacher = output_of([[3.0, -1.0], [0.0, -1.0]], [BOX, BOX])
    group = output_of([[3.0, -1.0], [0.0, -1.0]], [BOX, [0.5, 0.5, 0.2, 0.3]])
    assert terms_of(teacher, group)["l1"] == pytest.approx(0.1 * 0.5 / (0.952574 + 0.5), abs=1e-6)
    group = output_of([[3.0, -1.0], [0.0, -1.0]], [[0.5, 0.5, 0.2, 0.3], BOX])
    assert terms_of(teacher, group)["l1"] == pytest.approx(0.1 * 0.952574 / (0.952574 + 0.5), abs=1e-6)


def test_specific_points_come_first_and_answers_correspond_by_index():
    """Nothing is matched: the same two predictions in the other order cost something."""
    teacher, teacher_predictions = output_of([[2.0]], [BOX]), output_of([[-1.0]], [FAR])
    method = method_for(teacher, teacher, general=1, class_form="binary")
    answers = (teacher, teacher_predictions)
    terms = method(
        inputs_of(teacher, teacher, NOTHING, extra_predictions=answers, teacher_predictions=teacher_predictions)
    )
    assert [float(term) for term in terms.values()] == pytest.approx([0, 0, 0], abs=1e-5)
    swapped = output_of([[2.0], [-1.0]], [FAR, BOX])
    assert terms_of(teacher, swapped, teacher_predictions)["l1"] == pytest.approx(1.0, abs=1e-5)


def test_general_points_alone():
    teacher, teacher_predictions = output_of([[2.0]], [BOX]), output_of([[-1.0]], [FAR])
    terms = terms_of(teacher, output_of([[-1.0]], [FAR]), teacher_predictions, specific=False)
    assert terms["l1"] == pytest.approx(0, abs=1e-6)


def test_the_binary_form_by_hand():
    """Teacher 0.8, student 0.5, one class: 0.8 ln(0.8 / 0.5) + 0.2 ln(0.2 / 0.5). A softmax of one class is blind."""
    teacher, group = output_of([[math.log(4)]], [BOX]), output_of([[0.0]], [BOX])
    wanted = 0.8 * math.log(1.6) + 0.2 * math.log(0.4)
    assert terms_of(teacher, group, class_form="binary")["classification"] == pytest.approx(wanted, abs=1e-6)
    assert terms_of(teacher, group)["classification"] == 0


@pytest.mark.parametrize(("layers", "l1"), [("teacher_last", 0.3), ("paired", 0.1)])
def test_student_layers_imitate_the_last_teacher_layer_or_their_own(layers: str, l1: float):
    """Widths: teacher 0.1, 0.2, 0.3, 0.4; student 0.2, 0.3. Paired, the groups end at the teacher's 2nd and 4th."""
    teacher = output_of(torch.zeros(4, 1, 1), [[[0.5, 0.5, width, 0.2]] for width in (0.1, 0.2, 0.3, 0.4)])
    group = output_of(torch.zeros(2, 1, 1), [[[0.5, 0.5, width, 0.2]] for width in (0.2, 0.3)])
    assert terms_of(teacher, group, layers=layers)["l1"] == pytest.approx(l1, abs=1e-6)


def test_softmax_scores_decide_the_class_term():
    """Probabilities 0.5, 0.3 and 0.2 for 'no object', which also takes part in the divergence."""
    teacher = output_of([[math.log(0.5), math.log(0.3), math.log(0.2)]], [BOX], scores="softmax")
    uniform = output_of([[0.0, 0.0, 0.0]], [BOX], scores="softmax")
    kl = sum(p * math.log(3 * p) for p in (0.5, 0.3, 0.2))
    terms = terms_of(teacher, uniform, class_form="binary", temperature=1.0)
    assert terms["classification"] == pytest.approx(kl, abs=1e-6)
    undecided = output_of([[0.0, 0.0]], [BOX])
    binary = sum(p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)) for p in (0.5, 0.3))
    assert terms_of(teacher, undecided)["classification"] == pytest.approx(binary, abs=1e-6)


def test_a_softmax_teachers_confidence_leaves_no_object_out():
    """Best class 0.3 and 0.1, whatever the background says."""
    rows = [[math.log(0.3), math.log(0.7)], [math.log(0.1), math.log(0.9)]]
    teacher = output_of(rows, [BOX, BOX], scores="softmax")
    group = output_of(rows, [BOX, [0.5, 0.5, 0.2, 0.3]], scores="softmax")
    assert terms_of(teacher, group)["l1"] == pytest.approx(0.1 * 0.1 / 0.4, abs=1e-6)


def test_a_sigmoid_teacher_gives_a_softmax_student_boxes_only():
    teacher, group = output_of([[0.0]], [BOX]), output_of([[0.0, 0.0]], [FAR], scores="softmax")
    with pytest.raises(ConfigError, match="class_weight"):
        terms_of(teacher, group)
    terms = terms_of(teacher, group, class_weight=0.0)
    assert set(terms) == {"l1", "giou"}
    assert terms["l1"] == pytest.approx(1.0, abs=1e-6)


def teacher_of(queries: Queries) -> DetectorOutput:
    count = queries.content_BQD.shape[1]
    return replace(
        output_of(torch.zeros(count, 2), torch.tensor(BOX).expand(count, 4), hidden=queries.content_BQD),
        queries=queries,
    )


def test_general_points_are_distributed_as_the_teachers_own():
    """Content has means 1 and -1 and deviations 0.5 and 0; the position's are 10 times that."""
    content = torch.tensor([[[1.5, -1.0], [0.5, -1.0]]])
    teacher = teacher_of(Queries(content, 10 * content, torch.rand(1, 2, 4)))
    method = method_for(teacher, teacher)
    method.general = 20_000  # more than a configuration may ask for
    torch.manual_seed(0)
    drawn = method.teacher_queries(teacher)
    assert drawn is not None
    assert drawn.position_BQD is not None
    assert drawn.reference_BQK is not None
    for part_BGD, scale in ((drawn.content_BQD, 1), (drawn.position_BQD, 10)):
        torch.testing.assert_close(part_BGD.mean(1) / scale, torch.tensor([[1.0, -1.0]]), atol=0.02, rtol=0)
        torch.testing.assert_close(part_BGD.std(1) / scale, torch.tensor([[0.5, 0.0]]), atol=0.02, rtol=0)
    reference_BGK = drawn.reference_BQK
    assert reference_BGK.shape == (1, 20_000, 4)
    assert reference_BGK.min() >= 0
    assert reference_BGK.max() <= 1
    torch.testing.assert_close(reference_BGK.mean(1), torch.full((1, 4), 0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(reference_BGK.std(1), torch.full((1, 4), 12**-0.5), atol=0.02, rtol=0)


def test_general_points_are_redrawn_and_follow_the_global_generator():
    teacher = teacher_of(Queries(torch.randn(1, 5, 2)))
    method = method_for(teacher, teacher, general=3)
    torch.manual_seed(7)
    first, second = (method.teacher_queries(teacher) for _ in range(2))
    torch.manual_seed(7)
    again = method.teacher_queries(teacher)
    assert first is not None
    assert second is not None
    assert again is not None
    assert not torch.equal(first.content_BQD, second.content_BQD)
    assert torch.equal(first.content_BQD, again.content_BQD)
    assert first.position_BQD is None
    assert first.reference_BQK is None


def test_specific_and_general_points_are_groups_of_their_own():
    """As for the teacher, whose own queries have not seen those that were drawn."""
    content = torch.randn(1, 2, 2)
    teacher = teacher_of(Queries(content, None, torch.rand(1, 2, 4)))
    method = method_for(teacher, teacher, general=3, group="second_decoder_pass")
    general = method.teacher_queries(teacher)
    assert general is not None
    asked = method.student_queries(teacher, teacher_of(general))
    assert asked.mode == "second_decoder_pass"
    own, drawn = asked.queries
    assert torch.equal(own.content_BQD, content)
    assert torch.equal(drawn.content_BQD, general.content_BQD)
    assert drawn.reference_BQK is not None
    assert general.reference_BQK is not None
    assert torch.equal(drawn.reference_BQK, general.reference_BQK)


def test_without_general_points_the_teacher_is_asked_for_nothing():
    teacher = teacher_of(Queries(torch.randn(1, 2, 2), None, torch.rand(1, 2, 4)))
    method = method_for(teacher, teacher, general=0)
    assert method.teacher_queries(teacher) is None
    (own,) = method.student_queries(teacher, None).queries
    assert own.content_BQD.shape == (1, 2, 2)


def test_points_of_both_sides_may_be_permuted():
    generator = torch.Generator().manual_seed(0)
    teacher = output_of(torch.randn(5, 3, generator=generator), torch.rand(5, 4, generator=generator))
    group = output_of(torch.randn(5, 3, generator=generator), torch.rand(5, 4, generator=generator))
    order = torch.tensor([3, 1, 4, 0, 2])
    moved = [output_of(one.logits_LBQC[:, 0, order], one.boxes_LBQ4[:, 0, order]) for one in (teacher, group)]
    assert terms_of(*moved) == pytest.approx(terms_of(teacher, group), abs=1e-5)


def test_every_term_has_a_weight():
    output = output_of([[0.0]], [BOX])
    method = method_for(output, output, weight=2.0, general=0)
    assert set(method(inputs_of(output, output, NOTHING, extra_predictions=(output,)))) == set(method.weights())
    assert method.weights()["distillation_points.l1"] == 10.0


def test_variants_fill_defaults_and_points_are_required():
    recommended = Config.model_validate({"variant": "recommended"})
    assert (recommended.general, recommended.class_form, recommended.layers) == (0, "binary", "paired")
    paper = Config.model_validate({"variant": "paper"})
    assert (paper.class_form, paper.layers, paper.temperature) == ("softmax_kl", "teacher_last", 10)
    with pytest.raises(ValidationError, match="no points"):
        Config(general=0, specific=False)
