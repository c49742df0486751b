"""YOLOS with positions between the layers, as its larger published sizes have them."""

from copy import deepcopy

import pytest
import torch

from detrdistill.detectors.build import wrap
from detrdistill.detectors.detector import Detector
from detrdistill.outputs import Queries
from tests.support.factories import SIDE, tiny_detector


@pytest.fixture
def detector() -> Detector:
    small = tiny_detector("yolos")
    config = deepcopy(small.model.config)
    config.use_mid_position_embeddings = True
    torch.manual_seed(0)
    model = type(small.model)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return wrap(model, small.preprocessing).eval()


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_its_own_output_is_the_library_models(detector: Detector, pixels: torch.Tensor):
    ours, theirs = detector(pixels), detector.model(pixel_values=pixels)
    assert torch.equal(ours.logits_LBQC[-1], theirs.logits)
    assert torch.equal(ours.boxes_LBQ4[-1], theirs.pred_boxes)


@torch.no_grad()
def test_foreign_queries_have_no_position_between_the_layers(detector: Detector, pixels: torch.Tensor):
    """Replaying its own queries is therefore not exact, unless their positions there are zero."""
    own = detector(pixels)
    assert not torch.allclose(detector.decode(own, own.queries).boxes_LBQ4, own.boxes_LBQ4)
    (mid,) = (weight for name, weight in detector.named_parameters() if "mid_position" in name)
    mid[:, :, -10:] = 0
    own = detector(pixels)
    torch.testing.assert_close(detector.decode(own, own.queries).boxes_LBQ4, own.boxes_LBQ4)


@torch.no_grad()
def test_any_number_of_foreign_queries_leaves_no_trace(detector: Detector, pixels: torch.Tensor):
    before = detector(pixels)
    queries = Queries(torch.randn(2, 13, detector.width), torch.randn(2, 13, detector.width))
    after = detector(pixels, extra_queries=[queries])
    assert after.extra_groups[0].boxes_LBQ4.shape == (1, 2, 13, 4)
    assert torch.equal(after.boxes_LBQ4, before.boxes_LBQ4)
    assert torch.equal(detector(pixels).boxes_LBQ4, before.boxes_LBQ4)


def test_queries_need_a_position(detector: Detector, pixels: torch.Tensor):
    with pytest.raises(ValueError, match="positional part"):
        detector(pixels, override_queries=Queries(torch.zeros(2, 5, detector.width)))
