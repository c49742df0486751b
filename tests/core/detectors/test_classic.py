"""What DETR and its descendants start from, in numbers of their published code."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from detrdistill.catalog import check_queries
from detrdistill.detectors.detector import Detector
from detrdistill.detectors.weights import with_classes
from detrdistill.errors import ConfigError
from detrdistill.outputs import DetectorOutput
from detrdistill.schema.run import RUN_CONFIG
from tests.support.factories import SIDE, criterion_of, targets_of, tiny_detector

REFINING, TWO_STAGE = ("deformable-detr", "nano-refine"), ("deformable-detr", "nano-two-stage")
SOFTMAX = (("detr", "nano"), ("table-transformer", "nano"))
SIGMOID = (("conditional-detr", "nano"), ("dab-detr", "nano"), ("deformable-detr", "nano"), REFINING, TWO_STAGE)
OWN_START = ("sampling_offsets", "attention_weights", "bbox_embed", "class_embed")


@pytest.fixture(scope="module", params=SOFTMAX + SIGMOID, ids=" ".join)
def detector(request: pytest.FixtureRequest) -> Detector:
    return tiny_detector(*request.param).eval()


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
    assert len(embeddings) == (0 if getattr(detector.model.config, "two_stage", False) else 1)
    for embedding in embeddings:
        assert float(embedding.detach().std()) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("architecture", SIGMOID, ids=" ".join)
def test_objects_start_rare(architecture: tuple[str, str]):
    detector = tiny_detector(*architecture).eval()
    class_tensors = [name for name in detector.model.state_dict() if name.endswith("bias") and "class" in name]
    assert class_tensors
    for name in class_tensors:
        assert detector.model.state_dict()[name].sigmoid().tolist() == pytest.approx([0.01] * 3), name
    scores = first_output(detector).probability
    assert scores.min() > 0.001
    assert scores.max() < 0.1


@pytest.mark.parametrize("family", ["detr", "table-transformer", "conditional-detr"])
def test_the_librarys_auxiliary_loss_is_another_network(family: str):
    """A checkpoint trained with it is read as transformers computes it; new detectors are built without."""
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
    assert points_BQ2.std() > 0.1, "points are not all at the center"
    expected = torch.cat([points_BQ2, torch.full_like(points_BQ2, 0.5)], -1)
    torch.testing.assert_close(output.boxes_LBQ4, expected.expand_as(output.boxes_LBQ4))


def test_dab_boxes_start_as_its_queries():
    output = first_output(tiny_detector("dab-detr").eval())
    assert output.queries.reference_BQK is not None
    assert output.queries.reference_BQK.std() > 0.1, "boxes are not all alike"
    torch.testing.assert_close(output.boxes_LBQ4, output.queries.reference_BQK.expand_as(output.boxes_LBQ4))


@pytest.mark.parametrize("size", ["nano", "nano-refine"])
def test_deformable_boxes_start_small_around_their_points(size: str):
    output = first_output(tiny_detector("deformable-detr", size).eval())
    points_BQ2 = output.queries.reference_BQK
    assert points_BQ2 is not None
    assert points_BQ2.std() > 0.1, "points are not all at the center"
    expected = torch.cat([points_BQ2, torch.full_like(points_BQ2, -2).sigmoid()], -1)
    torch.testing.assert_close(output.boxes_LBQ4, expected.expand_as(output.boxes_LBQ4))


def test_boxes_of_two_stages_start_as_the_proposals():
    """On the finest level these have a side of a twentieth of the image."""
    output = first_output(tiny_detector(*TWO_STAGE).eval())
    assert output.queries.reference_BQK is not None
    torch.testing.assert_close(output.boxes_LBQ4, output.queries.reference_BQK.expand_as(output.boxes_LBQ4))
    assert output.proposals is not None
    finest_BT4 = output.proposals.boxes_BQ4[:, : (SIDE // 8) ** 2]
    torch.testing.assert_close(finest_BT4[..., 2:], torch.full_like(finest_BT4[..., 2:], 0.05))


def test_heads_of_a_refining_decoder_are_its_layers_own():
    for architecture, heads in ((REFINING, 2), (TWO_STAGE, 3)):
        model = tiny_detector(*architecture).model
        for name in ("class_embed", "bbox_embed"):
            first_tensors = {next(head.parameters()).data_ptr() for head in getattr(model, name)}
            assert len(first_tensors) == heads


def test_proposals_are_supervised():
    """`transformers` has no loss on them: their heads would stay as they are drawn.

    At 448 px the cells at the edge are too near to it, and their proposals infinitely far out, as published.
    """
    detector = tiny_detector(*TWO_STAGE).train()
    targets = [targets_of([0, 2], [[0.3, 0.3, 0.2, 0.2], [0.6, 0.6, 0.3, 0.2]])]
    output = detector(torch.randn(1, 3, 448, 448, generator=torch.Generator().manual_seed(0)), targets)
    assert output.proposals is not None
    assert (output.proposals.boxes_BQ4 == 1).all(-1).sum() == 4 * 55
    terms = criterion_of("focal")(output, targets)
    torch.stack([term for name, term in terms.items() if name.startswith("proposal")]).sum().backward()
    assert all(weight.grad.isfinite().all() for weight in detector.parameters() if weight.grad is not None)
    class_gradient = detector.model.class_embed[-1].weight.grad
    assert class_gradient[0].abs().max() > 0
    assert class_gradient[1:].abs().max() == 0, "proposals have no classes"
    assert detector.model.bbox_embed[-1].layers[-1].weight.grad.abs().max() > 0
    assert detector.model.class_embed[0].weight.grad is None


def test_other_classes_leave_the_heads_of_refinement_and_proposals_alone():
    """Heads stay their layers' own, and an object an object, whatever its first class was called."""
    for architecture in (REFINING, TWO_STAGE):
        detector = tiny_detector(*architecture)
        with torch.no_grad():
            for layer, head in enumerate(detector.model.class_embed):
                head.bias.copy_(torch.tensor([1.0, 2.0, 3.0]) + 10 * layer)
        changed = with_classes(detector, ["class 2", "class 1"], seed=1).model
        assert changed.class_embed[0].bias.tolist() == [3, 2]
        assert changed.class_embed[1].bias.tolist() == [13, 12]
    assert changed.class_embed[2].bias.tolist() == [21, pytest.approx(math.log(0.01 / 0.99))]


def test_more_queries_than_proposals_are_refused():
    """At 64 px the strides 8, 16, 32 and 64 have 64 + 16 + 4 + 1 cells."""
    check_queries("deformable-detr", 85, 64, two_stage=True)
    with pytest.raises(ConfigError, match="among the 85 cells"):
        check_queries("deformable-detr", 86, 64, two_stage=True)
    student = {"family": "deformable-detr", "queries": 86}
    config = {"kind": "train", "data": {"image_size": 64}}
    RUN_CONFIG.validate_python(config | {"student": student | {"size": "nano"}})
    with pytest.raises(ValidationError, match="among the 85 cells"):
        RUN_CONFIG.validate_python(config | {"student": student | {"size": "nano-two-stage"}})
