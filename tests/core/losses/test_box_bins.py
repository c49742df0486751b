"""FGL and DDF by hand, and against transformers' D-FINE loss on a real decoder."""

import pytest
import torch

from detrdistill.losses.box_bins import (
    decoupled_distillation,
    edge_distances,
    edge_divergence,
    fine_grained_localization,
)
from detrdistill.matching import Assignment
from detrdistill.outputs import BoxBins
from tests.support.factories import SIDE, criterion_of, targets_of, tiny_detector


def pairs_of(*rows: tuple[int, int, int, int]) -> Assignment:
    return Assignment(*torch.tensor(rows, dtype=torch.int64).reshape(-1, 4).unbind(1))


def bins_of(logits: torch.Tensor, values: list[float], start: list[float], scale: float = 4.0) -> BoxBins:
    images, queries = logits.shape[1:3]
    return BoxBins(logits, torch.tensor(start).expand(images, queries, 4), torch.tensor(values), scale)


def test_divergence_of_one_edge():
    """By hand, at an IoU of 0.8: T = 5 softens both distributions and multiplies the divergence by 25."""
    assert 0.8 * float(edge_divergence(torch.zeros(2), torch.tensor([2.0, 0.0]))) == pytest.approx(0.392140, abs=1e-6)


def test_distance_of_edges_from_a_start():
    """A box 0.1 wider to the left of a start of side 0.4: with scale 4 its edge is 1 unit further out."""
    start = torch.tensor([[0.5, 0.5, 0.4, 0.4]])
    wider = torch.tensor([[0.45, 0.5, 0.5, 0.4]])
    torch.testing.assert_close(edge_distances(start, start, 4.0), torch.zeros(1, 4), atol=1e-6, rtol=0)
    torch.testing.assert_close(edge_distances(wider, start, 4.0), torch.tensor([[1.0, 0, 0, 0]]), atol=1e-6, rtol=0)


def test_fine_grained_localization_by_hand():
    """Distances 1, 0, 0, 0 between bins -2, 0, 4: the left edge lies a quarter of the way from 0 to 4.

    Logits 0 but for ln 2 at bin 4 of the left edge, whose probabilities are 1/4, 1/4, 1/2: its loss is
    3/4 ln 4 + 1/4 ln 2; those of the others ln 3 each; all weighted by IoU 0.8.
    """
    logits = torch.zeros(1, 1, 1, 4, 3)
    logits[..., 0, 2] = torch.tensor(2.0).log()
    bins = bins_of(logits, [-2.0, 0.0, 4.0], [0.5, 0.5, 0.4, 0.4])
    wider = torch.tensor([[0.45, 0.5, 0.5, 0.4]])
    loss = fine_grained_localization(bins, pairs_of((0, 0, 0, 0)), wider, torch.tensor([0.8]))
    assert float(loss) == pytest.approx(0.8 * (1.039721 + 0.173287 + 3 * 1.098612), abs=1e-5)


def test_targets_beyond_the_last_bin_are_the_last_bin():
    bins = bins_of(torch.zeros(1, 1, 1, 4, 2), [-0.5, 0.5], [0.5, 0.5, 0.1, 0.1])
    loss = fine_grained_localization(bins, pairs_of((0, 0, 0, 0)), torch.tensor([[0.5, 0.5, 1.0, 0.01]]), torch.ones(1))
    assert float(loss) == pytest.approx(4 * 0.693147, abs=1e-5)


def test_decoupled_distillation_by_hand():
    """Two layers, three queries, the first matched: divergence d on all edges of all queries.

    Weights 0.8 (IoU) for the first, 0.5 and 0.1 (confidence) for the others, whose mean is 0.3:
    d (0.8 sqrt(1) + 0.3 sqrt(2)) / (sqrt(1) + sqrt(2)). The last layer adds nothing and gets no gradient.
    """
    logits = torch.zeros(2, 1, 3, 4, 2)
    logits[1, ..., 0] = 2.0
    logits.requires_grad_()
    bins = bins_of(logits, [-1.0, 1.0], [0.5, 0.5, 0.1, 0.1])
    pairs = pairs_of((0, 0, 0, 0), (1, 0, 2, 0))
    loss = decoupled_distillation(bins, pairs, torch.tensor([0.8, 0.6]), torch.tensor([[0.9, 0.5, 0.1]]))
    d = 0.392140 / 0.8
    assert float(loss.detach()) == pytest.approx(d * (0.8 + 0.3 * 2**0.5) / (1 + 2**0.5), abs=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0].abs().sum() > 0
    assert logits.grad[1].abs().sum() == 0


def test_without_targets_every_query_counts_as_unmatched():
    logits = torch.zeros(2, 1, 2, 4, 2)
    logits[1, ..., 0] = 2.0
    bins = bins_of(logits, [-1.0, 1.0], [0.5, 0.5, 0.1, 0.1])
    loss = decoupled_distillation(bins, pairs_of(), torch.ones(0), torch.tensor([[0.8, 0.8]]))
    assert float(loss) == pytest.approx(0.392140, abs=1e-5)


TARGETS = [targets_of([0, 2], [[0.3, 0.4, 0.2, 0.3], [0.7, 0.6, 0.3, 0.2]]), targets_of([1], [[0.5, 0.5, 0.4, 0.1]])]


def test_bins_give_the_boxes():
    """The expected distance of each edge, laid on the start, is the box the decoder gives."""
    detector = tiny_detector("d-fine").eval()
    for head in detector.decoder.bbox_embed:
        torch.nn.init.normal_(head.layers[-1].weight, std=0.5)
    with torch.no_grad():
        output = detector(torch.rand(2, 3, SIDE, SIDE))
    bins = output.bins
    assert bins is not None
    distance = (bins.logits_LBQ4R.softmax(-1) * bins.values_R).sum(-1)
    for layer, boxes_BQ4 in enumerate(output.boxes_LBQ4):
        found = edge_distances(boxes_BQ4.flatten(0, 1), bins.start_BQ4.flatten(0, 1), bins.scale)
        torch.testing.assert_close(found, distance[layer].flatten(0, 1), atol=2e-3, rtol=1e-3)


def test_equals_the_library():
    """Per layer, with its own pairs, as `transformers` computes FGL and DDF from the same distributions."""
    from transformers.loss.loss_d_fine import DFineLoss

    torch.manual_seed(0)
    detector = tiny_detector("d-fine", layers=3).train()
    for head in detector.decoder.bbox_embed:
        torch.nn.init.normal_(head.layers[-1].weight, std=0.5)
    output = detector(torch.rand(2, 3, SIDE, SIDE), TARGETS)
    bins = output.bins
    assert bins is not None
    criterion = criterion_of("varifocal", fgl_weight=0.15, ddf_weight=1.5)
    pairs = criterion.match(output.logits_LBQC, output.boxes_LBQ4, TARGETS, "sigmoid")
    library = DFineLoss(detector.model.config)
    labels = [{"boxes": target.boxes_N4} for target in TARGETS]
    expected = {"fgl": torch.zeros(()), "ddf": torch.zeros(())}
    for layer in range(detector.layers):
        own = pairs.select_layers([layer])
        indices = [(own.query_P[own.image_P == image], own.target_P[own.image_P == image]) for image in range(2)]
        outputs = {
            "pred_boxes": output.boxes_LBQ4[layer],
            "pred_corners": bins.logits_LBQ4R[layer].flatten(-2),
            "ref_points": bins.start_BQ4,
            "teacher_corners": bins.logits_LBQ4R[-1].flatten(-2),
            "teacher_logits": output.logits_LBQC[-1],
        }
        losses = library.loss_local(outputs, labels, indices, num_boxes=3)
        expected = {name: value + losses[f"loss_{name}"] for name, value in expected.items()}
    terms = criterion.losses(output.logits_LBQC, output.boxes_LBQ4, pairs, TARGETS, bins=bins)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, atol=1e-5, rtol=1e-4)
    assert {"detection.fgl", "detection.ddf", "denoising.fgl", "denoising.ddf"} <= set(criterion(output, TARGETS))
