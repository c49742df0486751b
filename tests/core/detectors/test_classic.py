"""What DETR and its descendants start from, in numbers of their published code."""

import math

import pytest
import torch
from torch import nn

from detrdistill.detectors.detector import Detector
from detrdistill.detectors.weights import with_classes
from detrdistill.outputs import DetectorOutput
from tests.support.factories import SIDE, tiny_detector

CLASSIC = ("detr", "table-transformer", "conditional-detr", "dab-detr", "deformable-detr")
OWN_START = ("sampling_offsets", "attention_weights", "bbox_embed", "class_embed")


@pytest.fixture(scope="module", params=CLASSIC)
def detector(request: pytest.FixtureRequest) -> Detector:
    return tiny_detector(request.param).eval()


@torch.no_grad()
def first_output(detector: Detector) -> DetectorOutput:
    return detector(torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))


def test_matrices_are_drawn_by_xavier(detector: Detector):
    """Uniform within sqrt(6 / (rows + columns)); query, key and value of an attention are thirds of one matrix."""
    parts: list[nn.Module] = [detector.model.model.encoder, detector.model.model.decoder]
    drawn = 0
    for part in parts:
        for name, layer in part.named_modules():
            if not isinstance(layer, nn.Linear) or any(own in name for own in OWN_START):
                continue
            parent, _, own_name = name.rpartition(".")
            is_third = hasattr(part.get_submodule(parent), "q_proj") and own_name in ("q_proj", "k_proj", "v_proj")
            rows, columns = layer.weight.shape
            bound = (6 / (3 * rows + columns if is_third else rows + columns)) ** 0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound, name
            drawn += 1
    assert drawn >= 2 * 6 + 2 * 6, "encoder and decoder have two layers each"


def test_queries_start_apart(detector: Detector):
    embeddings = [module.weight for module in detector.model.modules() if isinstance(module, nn.Embedding)]
    assert len(embeddings) == 1
    assert float(embeddings[0].detach().std()) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("family", ["conditional-detr", "dab-detr", "deformable-detr"])
def test_objects_start_rare(family: str):
    detector = tiny_detector(family).eval()
    class_tensors = [name for name in detector.model.state_dict() if name.endswith("bias") and "class" in name]
    assert class_tensors
    for name in class_tensors:
        assert detector.model.state_dict()[name].sigmoid().tolist() == pytest.approx([0.01] * 3), name
    scores = first_output(detector).probability
    assert scores.min() > 0.001
    assert scores.max() < 0.1


@pytest.mark.parametrize("family", ["detr", "table-transformer", "conditional-detr"])
def test_the_librarys_auxiliary_loss_is_another_network(family: str):
    """A checkpoint trained with it is read as the library computes it; new detectors are built without."""
    detector = tiny_detector(family).eval()
    assert not detector.model.config.auxiliary_loss
    detector.model.config.auxiliary_loss = True
    output = first_output(detector)
    with torch.no_grad():
        theirs = detector.model(torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(output.logits_LBQC[-1], theirs.logits, atol=0, rtol=0)
    torch.testing.assert_close(output.boxes_LBQ4[-1], theirs.pred_boxes, atol=0, rtol=0)


def test_a_new_class_starts_rare_beside_one_that_is_known():
    detector = tiny_detector("conditional-detr")
    head = detector.model.class_labels_classifier
    nn.init.constant_(head.bias, 1.0)
    changed = with_classes(detector, ["unknown", "Class 1"], seed=1).model.class_labels_classifier
    assert changed.bias.tolist() == pytest.approx([math.log(0.01 / 0.99), 1.0])
    assert torch.equal(changed.weight[1], head.weight[1])


def test_no_object_is_kept_when_classes_change():
    detector = tiny_detector("detr")
    head = detector.model.class_labels_classifier
    changed = with_classes(detector, ["class 2"], seed=1).model.class_labels_classifier
    assert torch.equal(changed.weight, head.weight[[2, 3]])
    assert torch.equal(changed.bias, head.bias[[2, 3]])


def test_conditional_boxes_start_around_their_points():
    detector = tiny_detector("conditional-detr").eval()
    output = first_output(detector)
    assert output.queries.position_BQD is not None
    points_BQ2 = detector.model.model.decoder.ref_point_head(output.queries.position_BQD).sigmoid()
    assert points_BQ2.std() > 0.1, "points are not all at the centre"
    expected = torch.cat([points_BQ2, torch.full_like(points_BQ2, 0.5)], -1)
    torch.testing.assert_close(output.boxes_LBQ4, expected.expand_as(output.boxes_LBQ4))


def test_dab_boxes_start_as_its_queries():
    output = first_output(tiny_detector("dab-detr").eval())
    assert output.queries.reference_BQK is not None
    assert output.queries.reference_BQK.std() > 0.1, "boxes are not all alike"
    torch.testing.assert_close(output.boxes_LBQ4, output.queries.reference_BQK.expand_as(output.boxes_LBQ4))


def test_deformable_boxes_start_small_around_their_points():
    output = first_output(tiny_detector("deformable-detr").eval())
    points_BQ2 = output.queries.reference_BQK
    assert points_BQ2 is not None
    assert points_BQ2.std() > 0.1, "points are not all at the centre"
    expected = torch.cat([points_BQ2, torch.full_like(points_BQ2, -2).sigmoid()], -1)
    torch.testing.assert_close(output.boxes_LBQ4, expected.expand_as(output.boxes_LBQ4))
