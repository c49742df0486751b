"""What is not defined between two families is refused, with the reason and where."""

import pytest

from detrdistill.compatibility.checks import check_criterion, check_pair
from detrdistill.errors import ConfigError
from detrdistill.files.black_boxes import BlackBox
from detrdistill.schema.run import RUN_CONFIG, CriterionConfig, TeacherConfig

PLACE = "/teachers/teacher"


def distill(methods: list[dict]) -> TeacherConfig:
    return RUN_CONFIG.validate_python({"kind": "distill", "methods": methods}).teachers["teacher"]


ALL = [{"kind": kind, "variant": "paper"} for kind in ("matched_logits", "target_features", "query_prior")]


@pytest.mark.parametrize(
    ("teacher", "student"),
    [
        ("deimv2", "rt-detr"),
        ("detr", "rt-detr-v2"),
        ("detr", "table-transformer"),
        ("deformable-detr", "conditional-detr"),
        ("rf-detr", "adamixer"),
    ],
)
def test_what_is_defined_passes(teacher: str, student: str):
    methods = ALL if {teacher, student} != {"rf-detr", "adamixer"} else [ALL[0], ALL[2]]
    check_pair(distill(methods), teacher, student, PLACE)


def test_independent_scores_are_no_distribution_for_a_softmax_student():
    with pytest.raises(ConfigError, match="no distribution") as caught:
        check_pair(distill(ALL), "rt-detr", "detr", PLACE)
    assert caught.value.pointer == "/teachers/teacher/methods/0/class_weight"
    check_pair(distill([ALL[0] | {"class_weight": 0}, *ALL[1:]]), "rt-detr", "detr", PLACE)


def test_masks_need_features_as_wide_as_the_queries():
    method = {"kind": "target_features", "variant": "official"}
    with pytest.raises(ConfigError, match="not as wide") as caught:
        check_pair(distill([method]), "deimv2", "rt-detr", PLACE)
    assert caught.value.pointer == "/teachers/teacher/methods/0/source"
    check_pair(distill([method | {"source": "memory"}]), "deimv2", "rt-detr", PLACE)


def test_levels_of_no_common_stride_are_refused():
    with pytest.raises(ConfigError, match="no level is shared") as caught:
        check_pair(distill([ALL[1]]), "yolos", "conditional-detr", PLACE)
    assert caught.value.pointer == "/teachers/teacher/methods/0/source"


ONNX, RECORDED = BlackBox("onnx", "softmax"), BlackBox("detections")


@pytest.mark.parametrize("teacher", [ONNX, RECORDED])
@pytest.mark.parametrize(
    "kind", ["target_features", "query_prior", "distillation_points", "feature_maps", "foreground_memory"]
)
def test_a_black_box_teaches_boxes_and_scores_alone(teacher: BlackBox, kind: str):
    check_pair(distill([ALL[0]]), teacher, "rt-detr", PLACE)
    with pytest.raises(ConfigError, match=f"{kind} needs features or queries") as caught:
        check_pair(distill([ALL[0], {"kind": kind}]), teacher, "rt-detr", PLACE)
    assert caught.value.pointer == "/teachers/teacher/methods/1"


def test_a_black_box_has_no_embeddings():
    with pytest.raises(ConfigError, match="no embeddings") as caught:
        check_pair(distill([{"kind": "matched_logits", "variant": "official"}]), RECORDED, "rt-detr", PLACE)
    assert caught.value.pointer == "/teachers/teacher/methods/0/contrastive_weight"


def test_recorded_scores_are_no_distribution_for_a_softmax_student():
    check_pair(distill([ALL[0]]), ONNX, "detr", PLACE)
    with pytest.raises(ConfigError, match="no distribution") as caught:
        check_pair(distill([ALL[0]]), RECORDED, "detr", PLACE)
    assert caught.value.pointer == "/teachers/teacher/methods/0/class_weight"


@pytest.mark.parametrize(("student", "loss"), [("detr", "focal"), ("rt-detr", "cross_entropy")])
def test_a_loss_for_other_scores_is_refused(student: str, loss: str):
    with pytest.raises(ConfigError, match="scores") as caught:
        check_criterion(CriterionConfig(classification=loss), student)
    assert caught.value.pointer == "/criterion/classification"


@pytest.mark.parametrize("term", ["fgl_weight", "ddf_weight"])
def test_losses_of_distributions_are_for_boxes_that_are_some(term: str):
    check_criterion(CriterionConfig(**{term: 0.5}), "d-fine")
    check_criterion(CriterionConfig(**{term: 0}), "rt-detr")
    with pytest.raises(ConfigError, match="distributions over bins") as caught:
        check_criterion(CriterionConfig(**{term: 0.5}), "rt-detr")
    assert caught.value.pointer == f"/criterion/{term}"
