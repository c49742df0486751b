import math

import pytest
import torch

from detrdistill.errors import ConfigError
from detrdistill.losses.classification import binary_entropy
from detrdistill.methods.matched_logits import MatchedLogits
from tests.support.factories import inputs_of, method_of, output_of, shape_like, targets_of

TEACHER_LOGITS = torch.tensor([[3.0, -3.0], [-3.0, 3.0], [-4.0, -4.0]])
TEACHER_BOXES = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9]])
NOTHING = [targets_of([], [])]


def method_for(student, teacher, **kwargs) -> MatchedLogits:
    fields = {"weight": 1.0, "pair_weight": "none"} | kwargs
    return method_of("matched_logits", shape_like(teacher), shape_like(student), **fields)


def terms_of(student, teacher, targets=NOTHING, **kwargs) -> dict[str, float]:
    terms = method_for(student, teacher, **kwargs)(inputs_of(student, teacher, targets))
    return {name.removeprefix("matched_logits."): float(value) for name, value in terms.items()}


def test_a_permuted_teacher_is_recovered():
    """The class term is reported above its floor, the teacher's entropy, which is 0.314550 per query here."""
    order = [2, 0, 1]
    logits = TEACHER_LOGITS[order].clone().requires_grad_()
    student, teacher = output_of(logits, TEACHER_BOXES[order]), output_of(TEACHER_LOGITS, TEACHER_BOXES)
    method = method_for(student, teacher)
    probability, boxes = teacher.logits_LBQC.sigmoid(), teacher.boxes_LBQ4
    assert method._match(student.logits_LBQC, student.boxes_LBQ4, probability, boxes).target_P.tolist() == order
    assert float(binary_entropy(probability).mean()) == pytest.approx(0.314550, abs=1e-5)
    terms = method(inputs_of(student, teacher, NOTHING))
    for value in terms.values():
        assert float(value) == pytest.approx(0, abs=1e-5)
    terms["matched_logits.classification"].backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), atol=1e-6, rtol=0)


def test_loss_values_by_hand():
    """Soft cross-entropy 2.420075, 5 L1 0.25, 2 (1 - GIoU) 0.4."""
    probability = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    student = output_of([[0.0, 0.0], [2.0, -2.0]], [[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.2, 0.2]])
    teacher = output_of(torch.logit(probability), [[0.6, 0.5, 0.4, 0.4], [0.5, 0.5, 0.2, 0.2]])
    terms = terms_of(student, teacher)
    floor = float(binary_entropy(probability).mean())
    assert terms["classification"] + floor == pytest.approx(2.420075, abs=1e-5)
    assert 5 * terms["l1"] == pytest.approx(0.25, abs=1e-5)
    assert 2 * terms["giou"] == pytest.approx(0.4, abs=1e-5)


def test_fewer_student_queries_than_teacher_queries():
    """Each student query has a partner; the teacher query that is left over costs nothing."""
    student = output_of(TEACHER_LOGITS[:2], TEACHER_BOXES[:2])
    teacher = output_of(TEACHER_LOGITS, TEACHER_BOXES)
    assert terms_of(student, teacher) == pytest.approx(dict.fromkeys(("classification", "l1", "giou"), 0), abs=1e-5)


def test_student_queries_without_a_partner_contribute_nothing():
    """The released code would aim their scores at 80."""
    logits = TEACHER_LOGITS.clone().requires_grad_()
    boxes = TEACHER_BOXES.clone().requires_grad_()
    student, teacher = output_of(logits, boxes), output_of(TEACHER_LOGITS[:2] + 0.5, TEACHER_BOXES[:2] + 0.01)
    terms = method_for(student, teacher)(inputs_of(student, teacher, NOTHING))
    torch.stack(list(terms.values())).sum().backward()
    for gradient in (logits.grad, boxes.grad):
        assert gradient is not None
        assert gradient[2].abs().sum() == 0
        assert (gradient[:2].abs().sum(-1) > 0).all()


def test_teacher_as_student_costs_nothing():
    output = output_of(TEACHER_LOGITS, TEACHER_BOXES)
    for kwargs in ({}, {"split": True}, {"pair_weight": "teacher_confidence"}):
        target = [targets_of([0], [[0.2, 0.2, 0.2, 0.2]])]
        assert all(value == pytest.approx(0, abs=1e-5) for value in terms_of(output, output, target, **kwargs).values())


def test_split_distils_classes_of_positives_only():
    """Query 0 is positive. A wrong class on another query costs nothing, a wrong box does."""
    targets = [targets_of([0], [[0.2, 0.2, 0.2, 0.2]])]
    teacher = output_of(TEACHER_LOGITS, TEACHER_BOXES)
    other_class = TEACHER_LOGITS.clone()
    other_class[1] = torch.tensor([2.0, -5.0])
    terms = terms_of(output_of(other_class, TEACHER_BOXES), teacher, targets, split=True)
    assert all(value == pytest.approx(0, abs=1e-5) for value in terms.values())
    other_box = TEACHER_BOXES.clone()
    other_box[1, 0] += 0.04
    terms = terms_of(output_of(TEACHER_LOGITS, other_box), teacher, targets, split=True)
    assert terms["negative_l1"] == pytest.approx(0.04 / 2, abs=1e-5)
    assert terms["l1"] == pytest.approx(0, abs=1e-5)


def test_negatives_of_weight_zero_are_not_matched():
    """The positives' terms stay as they are."""
    targets = [targets_of([0], [[0.2, 0.2, 0.2, 0.2]])]
    student, teacher = output_of(TEACHER_LOGITS + 0.5, TEACHER_BOXES + 0.01), output_of(TEACHER_LOGITS, TEACHER_BOXES)
    terms = terms_of(student, teacher, targets, split=True)
    assert {name for name in terms if name.startswith("negative")} == {"negative_l1", "negative_giou"}
    positives = {name: value for name, value in terms.items() if not name.startswith("negative")}
    assert terms_of(student, teacher, targets, split=True, negative_weight=0.0) == pytest.approx(positives)


@pytest.mark.parametrize(("pool", "l1"), [("all", 0.0), ("remaining", 0.3)])
def test_negatives_may_or_may_not_share_the_positives_student_queries(pool: str, l1: float):
    """Both teacher boxes lie on student query 0; the second student query is 0.3 away."""
    teacher = output_of([[3.0], [-3.0]], [[0.2, 0.2, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2]])
    student = output_of([[3.0], [3.0]], [[0.2, 0.2, 0.2, 0.2], [0.5, 0.2, 0.2, 0.2]])
    targets = [targets_of([0], [[0.2, 0.2, 0.2, 0.2]])]
    terms = terms_of(student, teacher, targets, split=True, negative_pool=pool)
    assert terms["negative_l1"] == pytest.approx(l1, abs=1e-5)


def test_confident_pairs_weigh_more():
    """Pair weights are the teacher's best scores over their sum: (0.9, 0.3) / 1.2."""
    teacher = output_of(torch.logit(torch.tensor([[0.9], [0.3]])), [[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2]])
    student = output_of(torch.logit(torch.tensor([[0.9], [0.3]])), [[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.3]])
    assert terms_of(student, teacher)["l1"] == pytest.approx(0.1 / 2, abs=1e-5)
    weighted = terms_of(student, teacher, pair_weight="teacher_confidence")
    assert weighted["l1"] == pytest.approx(0.1 * 0.3 / 1.2, abs=1e-5)


@pytest.mark.parametrize(("reduction", "factor"), [("sum", 2), ("mean", 1)])
def test_teacher_layers_of_one_group_are_summed_or_averaged(reduction: str, factor: int):
    """Six equal teacher layers for three student layers."""
    shifted = TEACHER_BOXES + torch.tensor([0.02, 0.0, 0.0, 0.0])
    teacher = output_of(TEACHER_LOGITS.expand(6, -1, -1), shifted.expand(6, -1, -1))
    student = output_of(TEACHER_LOGITS.expand(3, -1, -1), TEACHER_BOXES.expand(3, -1, -1))
    assert terms_of(student, teacher, layer_reduction=reduction)["l1"] == pytest.approx(factor * 3 * 0.02, abs=1e-5)


def test_only_the_last_layers_meet_on_request():
    teacher = output_of(TEACHER_LOGITS.expand(2, -1, -1), TEACHER_BOXES.expand(2, -1, -1))
    boxes = TEACHER_BOXES.expand(2, -1, -1).clone()
    boxes[0] += 0.05
    student = output_of(TEACHER_LOGITS.expand(2, -1, -1), boxes)
    assert terms_of(student, teacher, layers="last")["l1"] == pytest.approx(0, abs=1e-5)
    assert terms_of(student, teacher, layers="all")["l1"] > 0.1


def test_teacher_boxes_can_be_clamped_to_the_image():
    teacher = output_of([[0.0]], [[0.0, 0.5, 0.4, 0.4]])
    student = output_of([[0.0]], [[0.1, 0.5, 0.2, 0.4]])
    assert terms_of(student, teacher, clamp_teacher_boxes=True)["l1"] == pytest.approx(0, abs=1e-5)
    assert terms_of(student, teacher, clamp_teacher_boxes=False)["l1"] == pytest.approx(0.3, abs=1e-5)


def test_queries_of_either_side_may_be_permuted():
    generator = torch.Generator().manual_seed(0)
    student = output_of(torch.randn(2, 5, 3, generator=generator), torch.rand(2, 5, 4, generator=generator) * 0.4 + 0.1)
    teacher = output_of(torch.randn(2, 6, 3, generator=generator), torch.rand(2, 6, 4, generator=generator) * 0.4 + 0.1)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    moved = output_of(teacher.logits_LBQC[:, 0, order], teacher.boxes_LBQ4[:, 0, order])
    assert terms_of(student, moved) == pytest.approx(terms_of(student, teacher), abs=1e-5)


def test_the_contrastive_term_trains_its_head_and_the_student_only():
    student_hidden = torch.randn(1, 3, 2, requires_grad=True)
    teacher = output_of(TEACHER_LOGITS, TEACHER_BOXES, hidden=torch.randn(1, 3, 2))
    student = output_of(TEACHER_LOGITS, TEACHER_BOXES, hidden=student_hidden)
    method = method_for(student, teacher, contrastive_weight=0.2)
    method(inputs_of(student, teacher, NOTHING))["matched_logits.contrastive"].backward()
    assert student_hidden.grad is not None
    assert student_hidden.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_softmax_scores_are_compared_with_no_object_among_the_classes():
    """KL of (0.7, 0.2, 0.1) to (0.5, 0.25, 0.25); the student's second query agrees with the teacher's first."""
    rows = torch.tensor([[0.5, 0.25, 0.25], [0.7, 0.2, 0.1]]).log()
    teacher = output_of(rows[1:], [[0.5, 0.5, 0.2, 0.2]], scores="softmax")
    student = output_of(rows, [[0.5, 0.5, 0.2, 0.2]] * 2, scores="softmax")
    assert terms_of(student, teacher)["classification"] == pytest.approx(0, abs=1e-6)
    student = output_of(rows[:1], [[0.5, 0.5, 0.2, 0.2]], scores="softmax")
    kl = 0.7 * math.log(1.4) + 0.2 * math.log(0.8) + 0.1 * math.log(0.4)
    assert terms_of(student, teacher)["classification"] == pytest.approx(kl, abs=1e-6)


def test_a_sigmoid_teacher_gives_a_softmax_student_boxes_only():
    teacher = output_of([[0.0]], [[0.5, 0.5, 0.2, 0.2]])
    student = output_of([[0.0, 0.0]], [[0.5, 0.5, 0.2, 0.3]], scores="softmax")
    with pytest.raises(ConfigError, match="class_weight"):
        method_for(student, teacher)
    terms = terms_of(student, teacher, class_weight=0.0)
    assert set(terms) == {"l1", "giou"}
    assert terms["l1"] == pytest.approx(0.1, abs=1e-6)


ASSIGNED = [targets_of([0], [[0.5, 0.5, 0.2, 0.2]])]
"""Ground truth of the next teacher's query 0. The others' GIoU with it: 1/2, -0.01/0.41 (beside it), about -1."""
BOXES = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.4], [0.71, 0.5, 0.2, 0.2], [0.05, 0.05, 0.02, 0.02]])
SHIFTED = BOXES + torch.tensor([[0.01], [0.02], [0.03], [0.04]]) * torch.tensor([1.0, 0.0, 0.0, 0.0])
BOXES_ONLY = {"class_weight": 0.0}


@pytest.mark.parametrize(("giou", "count"), [(0.6, 1), (0.0, 2), (-0.1, 3), (-1.0, 4)])
def test_queries_near_the_ground_truth_are_selected(giou: float, count: int):
    """QSKD. The student's box of query i is off by 0.01, 0.02, 0.03, 0.04."""
    teacher, student = output_of(torch.zeros(4, 1), BOXES), output_of(torch.zeros(4, 1), SHIFTED)
    kwargs = {"selection": "near_targets", "selection_giou": giou} | BOXES_ONLY
    off = [0.01, 0.02, 0.03, 0.04][:count]
    assert terms_of(student, teacher, ASSIGNED, **kwargs)["l1"] == pytest.approx(sum(off) / count, abs=1e-6)
    terms = terms_of(student, teacher, ASSIGNED, split=True, **kwargs)
    assert terms["l1"] == pytest.approx(0.01, abs=1e-6)
    assert terms["negative_l1"] == pytest.approx(sum(off[1:]) / max(count - 1, 1), abs=1e-6)


def test_an_assigned_query_is_selected_wherever_its_box_is():
    teacher = output_of([[0.0], [-9.0]], [[0.8, 0.8, 0.1, 0.1], [0.05, 0.05, 0.02, 0.02]])
    student = output_of([[0.0], [-9.0]], [[0.8, 0.8, 0.1, 0.15], [0.05, 0.05, 0.02, 0.02]])
    terms = terms_of(student, teacher, ASSIGNED, selection="near_targets", **BOXES_ONLY)
    assert terms["l1"] == pytest.approx(0.05, abs=1e-6)


def test_an_unselected_query_does_not_compete_for_the_students():
    """Both teacher queries lie nearest the student's first; alone, the selected one gets it."""
    teacher = output_of([[3.0], [-3.0]], [[0.5, 0.5, 0.2, 0.2], [0.52, 0.5, 0.2, 0.2]])
    student = output_of([[3.0], [3.0]], [[0.52, 0.5, 0.2, 0.2], [0.9, 0.5, 0.2, 0.2]])
    assert terms_of(student, teacher, top_queries=1, **BOXES_ONLY)["l1"] == pytest.approx(0.02, abs=1e-6)
    assert terms_of(student, teacher, **BOXES_ONLY)["l1"] > 0.1


@pytest.mark.parametrize(
    ("kwargs", "l1"),
    [
        ({"top_queries": 1}, 0.03),
        ({"top_queries": 2}, 0.02),
        ({"top_queries": 9}, 0.025),
        ({"score_floor": 0.55}, 0.02),
        ({"score_floor": 0.55, "top_queries": 1}, 0.03),
        ({"score_floor": 0.55, "selection": "near_targets"}, 0.01),
    ],
)
def test_confident_queries_are_selected(kwargs: dict[str, object], l1: float):
    """Scores 0.6, 0.5, 0.8, 0.3 of queries whose student boxes are off by 0.01, 0.02, 0.03, 0.04."""
    logits = torch.logit(torch.tensor([[0.6], [0.5], [0.8], [0.3]]))
    teacher, student = output_of(logits, BOXES), output_of(logits, SHIFTED)
    assert terms_of(student, teacher, ASSIGNED, **kwargs, **BOXES_ONLY)["l1"] == pytest.approx(l1, abs=1e-6)


def test_terms_can_be_divided_by_the_number_of_targets():
    """Four pairs, two of ground truth: (0.01 + 0.02 + 0.03 + 0.04) / 2, with weights 0.5 half of it."""
    teacher, student = output_of(torch.zeros(4, 1), BOXES), output_of(torch.zeros(4, 1), SHIFTED)
    targets = [targets_of([0, 0], [[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.2, 0.2]])]
    kwargs = {"normaliser": "targets"} | BOXES_ONLY
    assert terms_of(student, teacher, targets, **kwargs)["l1"] == pytest.approx(0.05, abs=1e-6)
    weighted = terms_of(student, teacher, targets, pair_weight="teacher_confidence", **kwargs)
    assert weighted["l1"] == pytest.approx(0.025, abs=1e-6)
    assert terms_of(student, teacher, NOTHING, **kwargs)["l1"] == pytest.approx(0.1, abs=1e-6)


def test_an_image_without_ground_truth_has_nothing_near_it():
    """No pair, a loss of zero that still can be differentiated."""
    logits = torch.zeros(4, 1, requires_grad=True)
    teacher, student = output_of(torch.zeros(4, 1), BOXES), output_of(logits, SHIFTED)
    method = method_for(student, teacher, selection="near_targets", contrastive_weight=0.2)
    terms = method(inputs_of(student, teacher, NOTHING))
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    assert float(total.detach()) == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


def test_confidence_of_a_sigmoid_teacher_counts_every_class_for_a_softmax_student():
    """Scores 0.9 (of the last class) and 0.3, so weights 0.75 and 0.25."""
    teacher = output_of(torch.logit(torch.tensor([[0.1, 0.9], [0.3, 0.3]])), BOXES[:2])
    student = output_of(torch.zeros(2, 3), SHIFTED[:2], scores="softmax")
    terms = terms_of(student, teacher, pair_weight="teacher_confidence", **BOXES_ONLY)
    assert terms["l1"] == pytest.approx(0.75 * 0.01 + 0.25 * 0.02, abs=1e-6)


def test_every_term_has_a_weight():
    output = output_of(TEACHER_LOGITS, TEACHER_BOXES)
    target = [targets_of([0], [[0.2, 0.2, 0.2, 0.2]])]
    for kwargs in ({}, {"split": True, "contrastive_weight": 0.2}):
        method = method_for(output, output, weight=2.0, **kwargs)
        assert set(method(inputs_of(output, output, target))) <= set(method.weights())
        assert method.weights()["matched_logits.l1"] == 10.0
