"""A second pass runs encoder and decoder over the feature maps of the first: same numbers, one backbone."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from detrdistill.detectors.detector import Detector
from detrdistill.outputs import DetectorOutput, Queries
from tests.core.detectors.test_detectors import foreign_queries
from tests.core.engine.test_step import BATCH, HALFWAY, methods_config, step_of
from tests.support.factories import DETECTORS, SIDE, tiny_detector

QUICK = ("conditional-detr", "adamixer", "rt-detr", "deimv2", "lw-detr")
"""One of each way to the feature maps."""
WITH_BACKBONE = [
    pytest.param(architecture, marks=[] if architecture[0] in QUICK else pytest.mark.slow)
    for architecture in DETECTORS
    if architecture[0] != "yolos"
]
"""The queries of a YOLOS enter where the pixels do; there is nothing that could be kept."""


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@contextmanager
def counted(detector: Detector) -> Iterator[list[int]]:
    """Calls of the backbone, the module whose weights have its prefix."""
    calls: list[int] = []
    backbone = detector.get_submodule(detector.backbone_prefixes()[0].removesuffix("."))
    handle = backbone.register_forward_hook(lambda *_: calls.append(1))
    yield calls
    handle.remove()


def without_dropout(detector: Detector) -> Detector:
    for module in detector.modules():
        for name in ("p", "dropout", "activation_dropout", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return detector


def loss_of(output: DetectorOutput) -> Tensor:
    return output.logits_LBQC.square().mean() + output.boxes_LBQ4.square().mean()


def gradients_of(detector: Detector, *outputs: DetectorOutput) -> dict[str, Tensor]:
    detector.zero_grad(set_to_none=True)
    torch.stack([loss_of(output) for output in outputs]).sum().backward()
    return {name: weight.grad.clone() for name, weight in detector.named_parameters() if weight.grad is not None}


def buffers_of(detector: Detector) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in detector.named_buffers()}


@pytest.mark.parametrize("architecture", WITH_BACKBONE, ids=" ".join)
def test_values_and_gradients_are_those_of_a_whole_pass(architecture: tuple[str, str], pixels: Tensor):
    """In training mode; running statistics are those of one pass over the batch."""
    detector = without_dropout(tiny_detector(*architecture)).train()
    untouched = deepcopy(detector)
    queries = foreign_queries(detector)
    with counted(detector) as calls:
        first = detector(pixels, keep_maps=True)
        again = detector.second_pass(pixels, first, queries)
    assert len(calls) == 1
    kept, after_both = gradients_of(detector, first, again), buffers_of(detector)

    detector = untouched
    first = detector(pixels)
    after_one = buffers_of(detector)
    whole = detector(pixels, override_queries=queries)
    for name in ("logits_LBQC", "boxes_LBQ4", "hidden_LBQD"):
        torch.testing.assert_close(getattr(again, name), getattr(whole, name), atol=1e-6, rtol=1e-5)
    for mine, theirs in zip((*again.neck, *again.memory), (*whole.neck, *whole.memory), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)
    expected = gradients_of(detector, first, whole)
    assert kept.keys() == expected.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())  # some are zero but for rounding
    for name, gradient in expected.items():
        torch.testing.assert_close(kept[name], gradient, atol=1e-5 * largest, rtol=1e-3, msg=name)
    assert after_both.keys() == after_one.keys()
    for name, value in after_one.items():
        assert torch.equal(after_both[name], value), name


def test_the_released_query_prior_runs_the_backbone_once_a_step():
    student, teacher = tiny_detector("deformable-detr", queries=8), tiny_detector("deformable-detr", queries=12, seed=1)
    step = step_of(student, teacher, methods_config("official"))
    with counted(student) as calls:
        for _ in range(3):
            step(BATCH, HALFWAY).total.backward()
    assert len(calls) == 3


def test_one_step_counts_the_batch_once_in_every_batch_norm():
    """RT-DETR has batch norms in its encoder, too, which runs twice."""

    def statistics(variant: str) -> dict[str, Tensor]:
        student, teacher = tiny_detector("rt-detr", queries=8), tiny_detector("rt-detr", queries=12, seed=1)
        step_of(student, teacher, methods_config(variant))(BATCH, HALFWAY)
        return {name: value for name, value in student.named_buffers() if "running" in name or "tracked" in name}

    twice, once = statistics("official"), statistics("paper")
    assert any(".encoder." in name for name in once)
    for name, value in once.items():
        torch.testing.assert_close(twice[name], value, msg=name)


@pytest.mark.parametrize("family", ["lw-detr", "deformable-detr"])
def test_dropout_and_drop_path_before_the_encoder_are_those_of_the_first_pass(family: str, pixels: Tensor):
    detector = tiny_detector(family).train()
    convolution = next(part for part in detector.model.model.backbone.modules() if isinstance(part, nn.Conv2d))
    convolution.register_forward_hook(lambda _, __, maps: dropout(maps, 0.5))
    queries = foreign_queries(detector)
    first, other = detector(pixels, keep_maps=True), detector(pixels)
    again = detector.second_pass(pixels, first, queries)
    assert not torch.equal(first.neck[0], other.neck[0]), "the maps are drawn"
    assert torch.equal(again.neck[0], first.neck[0])


def test_dropout_of_encoder_and_decoder_is_drawn_anew(pixels: Tensor):
    detector = tiny_detector("deformable-detr").train()
    queries = foreign_queries(detector)
    first = detector(pixels, keep_maps=True)

    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return detector.second_pass(pixels, first, queries).memory[0]

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))


def test_queries_of_a_yolos_take_a_whole_pass(pixels: Tensor):
    detector = tiny_detector("yolos").eval()
    queries = foreign_queries(detector)
    again = detector.second_pass(pixels, detector(pixels, keep_maps=True), queries)
    assert torch.equal(again.logits_LBQC, detector(pixels, override_queries=queries).logits_LBQC)


def test_maps_that_were_not_kept_cannot_be_used(pixels: Tensor):
    detector = tiny_detector("rt-detr").eval()
    queries = Queries(torch.zeros(2, 3, detector.width), reference_BQK=torch.full((2, 3, 4), 0.5))
    with pytest.raises(ValueError, match="did not keep its feature maps"):
        detector.second_pass(pixels, detector(pixels), queries)
