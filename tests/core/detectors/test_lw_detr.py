"""Group DETR's groups in LW-DETR and RF-DETR: all are supervised, the first is the detector."""

import pytest
import torch

from detrdistill.detectors.detector import Detector
from detrdistill.errors import ConfigError
from detrdistill.outputs import Queries
from tests.support.factories import SIDE, criterion_of, targets_of, tiny_detector

TARGETS = [targets_of([0, 2], [[0.3, 0.3, 0.2, 0.2], [0.6, 0.6, 0.3, 0.2]]), targets_of([1], [[0.5, 0.4, 0.1, 0.3]])]


@pytest.fixture(scope="module", params=["lw-detr", "rf-detr"])
def detector(request: pytest.FixtureRequest) -> Detector:
    detector = tiny_detector(request.param)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return detector


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def test_the_loss_over_all_groups_is_the_librarys(detector: Detector, pixels: torch.Tensor):
    """Each group is matched by itself; sums over groups and layers are divided by the targets of all groups."""
    detector.train()
    labels = [{"class_labels": target.labels_N, "boxes": target.boxes_N4} for target in TARGETS]
    theirs = detector.model(pixel_values=pixels, labels=labels).loss_dict
    ours = criterion_of("ia_bce")(detector(pixels, TARGETS), TARGETS)
    for term, name in (("classification", "loss_ce"), ("l1", "loss_bbox"), ("giou", "loss_giou")):
        torch.testing.assert_close(ours[f"detection.{term}"], theirs[name] + theirs[f"{name}_0"])
        torch.testing.assert_close(ours[f"proposal.{term}"], theirs[f"{name}_enc"])


def test_training_gives_the_first_group_and_two_copies(detector: Detector, pixels: torch.Tensor):
    with torch.no_grad():
        output = detector.train()(pixels, TARGETS)
        assert detector.eval()(pixels).query_groups == ()
    assert [group.logits_LBQC.shape for group in output.query_groups] == [output.logits_LBQC.shape] * 2
    logits_LBQC, boxes_LBQ4 = output.supervised()
    assert torch.equal(logits_LBQC[2:4], output.query_groups[0].logits_LBQC)
    assert torch.equal(boxes_LBQ4[4:], output.query_groups[1].boxes_LBQ4)
    assert not torch.allclose(output.query_groups[0].boxes_LBQ4, output.boxes_LBQ4)
    assert all(group.proposals is not None for group in output.query_groups)


def test_foreign_queries_attend_to_all_of_themselves_in_training(detector: Detector, pixels: torch.Tensor):
    """Seven queries do not divide into three groups; the answer is that of evaluation, which knows no groups."""
    generator = torch.Generator().manual_seed(1)
    queries = Queries(
        torch.randn(2, 7, detector.width, generator=generator),
        reference_BQK=torch.rand(2, 7, 4, generator=generator) * 0.3 + 0.3,
    )
    with torch.no_grad():
        output = detector.train()(pixels, TARGETS, extra_queries=[queries])
        alone = detector(pixels, TARGETS, override_queries=queries)
        again = detector.eval().decode(output, queries)
    for answer in (output.extra_groups[0], alone):
        torch.testing.assert_close(answer.logits_LBQC, again.logits_LBQC)
        torch.testing.assert_close(answer.boxes_LBQ4, again.boxes_LBQ4)
        assert answer.query_groups == ()
    assert detector.model.config.group_detr == 3


def test_the_vit_is_the_backbone_and_the_projector_is_not(detector: Detector):
    names = {name for name, _ in detector.named_parameters() if name.startswith(detector.backbone_prefixes())}
    assert {name for name, _ in detector.named_parameters() if ".attention." in name} <= names
    assert not any("projector" in name for name in names)


def test_an_input_that_windows_do_not_divide_is_refused(detector: Detector, tmp_path):
    from dataclasses import replace

    from detrdistill.detectors.weights import load_detector
    from detrdistill.export import export_folder

    assert detector.side_multiple == 32
    misfit = tiny_detector(detector.family)
    misfit.preprocessing = replace(misfit.preprocessing, height=200)
    export_folder(misfit, tmp_path, (1, 2, 3))
    with pytest.raises(ConfigError, match=r"200 is not divisible by 32 \(patch size x windows\)\.") as caught:
        load_detector(tmp_path, SIDE)
    assert caught.value.pointer == "/data/image_size"
    assert caught.value.hint == "Set data.image_size to a multiple of 32, such as 192 or 224."
