import math

import pytest
import torch

from detrdistill.errors import ConfigError
from detrdistill.losses.divergence import check_scores, divergence, soft_targets, softened_kl

TEACHER = torch.tensor([3.0, -1.0])
STUDENT = torch.tensor([1.0, 0.0])


def test_softened_kl_by_hand():
    """KL times T^2 summed over classes; the release's mean over the two classes is half of it."""
    value = softened_kl(STUDENT, TEACHER, temperature=10)
    assert float(value) == pytest.approx(1.098771, abs=1e-5)
    assert float(value) / 2 == pytest.approx(0.549385, abs=1e-5)


def test_a_student_that_agrees_costs_nothing():
    assert float(softened_kl(TEACHER + 5, TEACHER, 10)) == pytest.approx(0, abs=1e-5)
    assert float(divergence(TEACHER, TEACHER.sigmoid(), "sigmoid")) == pytest.approx(0, abs=1e-6)
    assert float(divergence(TEACHER + 5, TEACHER.softmax(-1), "softmax")) == pytest.approx(0, abs=1e-6)


def test_divergence_of_each_class_by_hand():
    """Both classes aim at 0.5. The first score is there; the second, 0.8, costs ln 0.5 - (ln 0.8 + ln 0.2) / 2."""
    probability = torch.tensor([0.5, 0.5])
    logits = torch.tensor([0.0, math.log(4)])
    wanted = math.log(0.5) - 0.5 * math.log(0.8) - 0.5 * math.log(0.2)
    assert float(divergence(logits, probability, "sigmoid")) == pytest.approx(wanted, abs=1e-6)


def test_divergence_over_all_classes_is_the_kl_at_temperature_one():
    value = divergence(STUDENT, TEACHER.softmax(-1), "softmax")
    assert float(value) == pytest.approx(float(softened_kl(STUDENT, TEACHER, 1)), abs=1e-6)


def test_a_softmax_teacher_gives_a_sigmoid_student_its_classes_only():
    logits = torch.tensor([math.log(0.2), math.log(0.5), math.log(0.3)])  # the last is 'no object'
    assert soft_targets(logits, "softmax", "sigmoid").tolist() == pytest.approx([0.2, 0.5])
    assert soft_targets(logits, "softmax", "softmax").tolist() == pytest.approx([0.2, 0.5, 0.3])
    assert soft_targets(torch.zeros(2), "sigmoid", "sigmoid").tolist() == [0.5, 0.5]


def test_scores_of_single_classes_are_no_distribution():
    check_scores("softmax", "sigmoid")
    with pytest.raises(ConfigError, match="scores each class by itself"):
        check_scores("sigmoid", "softmax")
