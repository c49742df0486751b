"""Every family behind the one interface: exact against transformers' own forward pass."""

from dataclasses import replace

import pytest
import torch

from detrdistill.catalog import CATALOG, FamilyName, size_of
from detrdistill.detectors.build import adapter_of, build_detector, make_trainable
from detrdistill.detectors.detector import Detector
from detrdistill.engine.components import shape_of
from detrdistill.errors import CheckpointError
from detrdistill.outputs import Queries
from tests.support.factories import DETECTORS, SIDE, TINY, criterion_of, targets_of, tiny_detector

TARGETS = [targets_of([0, 2], [[0.3, 0.3, 0.2, 0.2], [0.6, 0.6, 0.3, 0.2]]), targets_of([], [])]


@pytest.fixture(scope="module", params=DETECTORS, ids=" ".join)
def detector(request: pytest.FixtureRequest) -> Detector:
    """As after some training: no head is zero, and batch norms know the features they see."""
    detector = tiny_detector(*request.param)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        for _ in range(20):
            detector.train()(torch.randn(2, 3, SIDE, SIDE, generator=generator), TARGETS)
    return detector


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def foreign_queries(detector: Detector, count: int = 7) -> Queries:
    generator = torch.Generator().manual_seed(1)
    content = torch.randn(2, count, detector.width, generator=generator)
    position = torch.randn(2, count, detector.width, generator=generator) if detector.position_argument else None
    reference = torch.rand(2, count, detector.reference_size, generator=generator) * 0.3 + 0.3
    return Queries(content, position, reference)


def test_all_families_are_tested():
    assert set(TINY) == set(CATALOG)


def test_the_last_layer_is_the_library_models_output(detector: Detector, pixels: torch.Tensor):
    detector.eval()
    with torch.no_grad():
        ours, theirs = detector(pixels), detector.model(pixel_values=pixels)
    torch.testing.assert_close(ours.logits_LBQC[-1], theirs.logits, atol=0, rtol=0)
    torch.testing.assert_close(ours.boxes_LBQ4[-1], theirs.pred_boxes, atol=0, rtol=0)


def test_every_layer_is_reported_in_evaluation_and_training(detector: Detector, pixels: torch.Tensor):
    columns = 3 + (detector.info.scores == "softmax")
    for training in (False, True):
        output = detector.train(training)(pixels, TARGETS)
        layers = 1 if detector.info.last_layer_only else 2
        assert output.logits_LBQC.shape == (layers, 2, 10, columns)
        assert output.boxes_LBQ4.shape == (layers, 2, 10, 4)
        assert output.hidden_LBQD.shape == (layers, 2, 10, detector.width)
        assert detector.info.boxes_leave_image or (output.boxes_LBQ4.min() >= 0 and output.boxes_LBQ4.max() <= 1)
        assert output.queries.content_BQD.shape == (2, 10, detector.width)


def test_replaying_its_own_queries_gives_the_same_output(detector: Detector, pixels: torch.Tensor):
    detector.eval()
    with torch.no_grad():
        output = detector(pixels)
        again = detector.decode(output, output.queries)
    # AdaMixer's layer norm of content that is normalised already divides by sqrt(1 + 1e-5)
    torch.testing.assert_close(again.logits_LBQC, output.logits_LBQC, atol=3e-5, rtol=1e-5)
    torch.testing.assert_close(again.boxes_LBQ4, output.boxes_LBQ4)


def test_a_second_group_equals_a_second_pass_and_leaves_the_first_alone(detector: Detector, pixels: torch.Tensor):
    """Three ways to run other queries through the student agree, and its own queries answer as if alone."""
    detector.eval()
    queries = foreign_queries(detector)
    with torch.no_grad():
        alone = detector(pixels)
        together = detector(pixels, extra_queries=[queries])
        decoder_pass = detector.decode(alone, queries)
        full_pass = detector(pixels, override_queries=queries)
    for name in ("logits_LBQC", "boxes_LBQ4", "hidden_LBQD"):
        torch.testing.assert_close(getattr(together, name), getattr(alone, name), atol=1e-5, rtol=0)
        for other in (decoder_pass, full_pass):
            torch.testing.assert_close(getattr(together.extra_groups[0], name), getattr(other, name), atol=1e-5, rtol=0)


def test_a_nan_in_the_second_group_stays_there(detector: Detector, pixels: torch.Tensor):
    detector.eval()
    queries = foreign_queries(detector)
    broken = queries.content_BQD.clone()
    broken[:, 3] = float("nan")
    with torch.no_grad():
        alone = detector(pixels)
        together = detector(pixels, extra_queries=[replace(queries, content_BQD=broken)])
    assert together.extra_groups[0].logits_LBQC.isnan().any()
    torch.testing.assert_close(together.logits_LBQC, alone.logits_LBQC)


def test_denoising_queries_are_kept_apart(detector: Detector, pixels: torch.Tensor):
    detector.train()
    output = detector(pixels, TARGETS, extra_queries=[foreign_queries(detector)])
    assert output.logits_LBQC.shape[2] == 10
    assert output.extra_groups[0].logits_LBQC.shape[2] == 7
    if not getattr(detector.model.config, "num_denoising", 0):
        assert output.denoising is None
        return
    noised = output.denoising
    assert noised is not None
    assert set(noised.image_P.tolist()) == {0}, "the second image has no targets"
    assert len(noised.query_P) == 2 * noised.group_count
    boxes = torch.stack([TARGETS[0].boxes_N4[target] for target in noised.target_P])
    first_layer = noised.boxes_LBQ4[0, noised.image_P, noised.query_P]
    assert (first_layer - boxes).abs().mean() < 0.25, "a denoising query starts near its target"


def test_gradients_reach_every_trainable_weight(detector: Detector, pixels: torch.Tensor):
    """Backbone, neck, decoder and heads are reached, through its own and a foreign group of queries."""
    make_trainable(detector)
    detector.train().zero_grad(set_to_none=True)
    queries = foreign_queries(detector)
    content = queries.content_BQD.requires_grad_()
    output = detector(pixels, TARGETS, extra_queries=[queries])
    criterion = criterion_of(detector.info.classification)
    terms = criterion(output, TARGETS)
    terms |= {f"group.{name}": value for name, value in criterion(output.extra_groups[0], TARGETS).items()}
    torch.stack(list(terms.values())).sum().backward()
    without = [name for name, weight in detector.named_parameters() if weight.requires_grad and weight.grad is None]
    assert without == []
    assert content.grad is not None
    assert content.grad.abs().sum() > 0


def test_classes_in_another_order_are_the_same_detector(detector: Detector, pixels: torch.Tensor):
    from detrdistill.detectors.weights import with_classes

    renamed = with_classes(detector.eval(), ["class 2", "CLASS 0", "class 1"], seed=0).eval()
    order = [2, 0, 1, 3] if detector.info.scores == "softmax" else [2, 0, 1]
    with torch.no_grad():
        ours, theirs = renamed(pixels), detector(pixels)
    torch.testing.assert_close(ours.logits_LBQC, theirs.logits_LBQC[..., order], atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.boxes_LBQ4, theirs.boxes_LBQ4, atol=1e-5, rtol=0)


def test_backbone_prefixes_and_slow_layers_name_real_weights(detector: Detector):
    names = [name for name, _ in detector.named_parameters()]
    assert any(name.startswith(detector.backbone_prefixes()) for name in names)
    for part in detector.slow_layers:
        assert any(part in name for name in names)


def test_the_catalog_tells_the_truth(detector: Detector):
    """What validation believes of a family is what its detectors do."""
    shape, info = shape_of(detector), CATALOG[detector.family]
    assert shape.neck_strides == info.neck_strides
    assert shape.memory_strides == info.memory_strides
    assert shape.scores == info.scores
    assert (set(shape.neck_widths) == {shape.width}) == info.neck_is_query_wide


@pytest.mark.parametrize("name", CATALOG)
def test_a_family_has_an_adapter_and_a_model_of_its_own(name: FamilyName):
    """Adapters inherit from each other, so that one which names no class of its own would build its parent's."""
    adapter = adapter_of(name)
    assert adapter.family == name
    assert adapter.model_class.config_class.model_type == CATALOG[name].model_type


def test_d_fine_of_two_levels_has_the_coarser_ones():
    """D-FINE-N leaves out the finest level of its family."""
    detector = build_detector("d-fine", replace(size_of("d-fine", "n"), queries=100), ["one"], SIDE, seed=0)
    shape = shape_of(detector)
    assert shape.memory_strides == shape.neck_strides == (16, 32)


def test_memory_and_neck_are_feature_maps(detector: Detector, pixels: torch.Tensor):
    output = detector.eval()(pixels)
    assert output.memory
    assert output.neck
    for feature in output.memory:
        assert feature.shape[:2] == (2, detector.width)
        assert SIDE % feature.shape[-1] == 0


@pytest.mark.export
def test_the_exported_folder_is_the_detector(detector: Detector, pixels: torch.Tensor, tmp_path):
    from transformers import AutoModelForObjectDetection

    from detrdistill.export import export_folder

    export_folder(detector.eval(), tmp_path, (1, 2, 3))
    loaded = AutoModelForObjectDetection.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        ours, theirs = detector(pixels), loaded(pixel_values=pixels)
    frozen = any("FrozenBatchNorm" in type(module).__name__ for module in loaded.modules())
    rounding = 1e-5 if frozen else 0  # transformers' frozen batch norm orders its arithmetic otherwise
    torch.testing.assert_close(ours.logits_LBQC[-1], theirs.logits, atol=rounding, rtol=0)
    torch.testing.assert_close(ours.boxes_LBQ4[-1], theirs.pred_boxes, atol=rounding, rtol=0)


def test_a_new_detector_normalises_its_features(detector: Detector):
    """`transformers` gives some families batch norms that never learn, for backbones that are pre-trained."""
    assert not [name for name, module in detector.named_modules() if "FrozenBatchNorm" in type(module).__name__]


@pytest.mark.export
def test_a_folder_of_the_library_itself_loads_completely(detector: Detector, pixels: torch.Tensor, tmp_path):
    """Also the shared box head of DEIMv2, which transformers cannot read back by itself."""
    from detrdistill.detectors.weights import load_detector
    from detrdistill.export import export_folder

    export_folder(detector.eval(), tmp_path, (1, 2, 3))
    detector.model.save_pretrained(tmp_path)
    loaded, coverage = load_detector(tmp_path, SIDE)
    assert (coverage.missing, coverage.unexpected) == ((), ())
    with torch.no_grad():
        torch.testing.assert_close(loaded(pixels).boxes_LBQ4, detector(pixels).boxes_LBQ4, atol=1e-5, rtol=0)


@pytest.mark.export
def test_a_folder_is_described_without_loading_it(detector: Detector, tmp_path):
    from detrdistill.export import export_folder
    from detrdistill.files.checkpoints import inspect_checkpoint

    export_folder(detector, tmp_path, (1, 2, 3))
    card = inspect_checkpoint(tmp_path)
    assert (card.family, card.classes, card.image_size) == (detector.family, detector.classes, (SIDE, SIDE))
    assert (card.queries, card.decoder_layers, card.width) == (10, 2, detector.width)


@pytest.mark.parametrize("family", sorted(TINY))
def test_dimensions_a_config_leaves_out_are_the_librarys_defaults(family: str):
    from transformers import AutoConfig

    info = CATALOG[family]
    config = AutoConfig.for_model(info.model_type)
    for key, default in vars(info.config_fields).values():
        assert getattr(config, key) == default


@pytest.mark.export
def test_the_image_processor_gives_the_pixels_that_training_sees(detector: Detector, tmp_path):
    from torchvision.tv_tensors import Image
    from transformers import AutoImageProcessor

    from detrdistill.data.transforms import DetectorInput
    from detrdistill.export import export_folder

    export_folder(detector, tmp_path, (1, 2, 3))
    generator = torch.Generator().manual_seed(3)
    image = torch.randint(0, 256, (3, 150, 250), dtype=torch.uint8, generator=generator)
    theirs = AutoImageProcessor.from_pretrained(tmp_path)(images=image, return_tensors="pt")["pixel_values"]
    ours = DetectorInput(detector.preprocessing)
    torch.testing.assert_close(ours.normalise(ours(Image(image))[None]), theirs, atol=1e-5, rtol=0)


@pytest.mark.export
def test_a_folder_is_described_from_its_headers(detector: Detector, tmp_path):
    from detrdistill.export import export_folder
    from detrdistill.files.checkpoints import inspect_checkpoint

    export_folder(detector, tmp_path, (1, 2, 3))
    card = inspect_checkpoint(tmp_path)
    assert (card.family, card.classes) == (detector.family, detector.classes)
    assert (card.width, card.queries, card.decoder_layers) == (detector.width, 10, detector.layers)


@pytest.mark.export
def test_weights_that_do_not_read_back_are_not_published(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """What transformers does with a shared box head by itself."""
    from detrdistill import export

    detector = tiny_detector("deimv2")
    monkeypatch.setattr(export, "_without_copies", lambda weights, tied: None)
    with pytest.raises(CheckpointError, match=r"decoder\.bbox_embed\.0"):
        export.export_folder(detector, tmp_path, (1, 2, 3))


def test_detections_are_those_of_the_image_processor(detector: Detector, pixels: torch.Tensor, tmp_path):
    from transformers import AutoImageProcessor

    from detrdistill.export import export_folder

    export_folder(detector.eval(), tmp_path, (1, 2, 3))
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    with torch.no_grad():
        scores, labels, boxes = detector.detections(detector(pixels))
        raw = detector.model(pixel_values=pixels)
    found = processor.post_process_object_detection(raw, threshold=0.0, target_sizes=[(SIDE, SIDE)] * 2)
    for image, result in enumerate(found):
        torch.testing.assert_close(scores[image], result["scores"])
        assert labels[image].tolist() == result["labels"].tolist()
        corners = torch.cat(
            [boxes[image, :, :2] - boxes[image, :, 2:] / 2, boxes[image, :, :2] + boxes[image, :, 2:] / 2], 1
        )
        torch.testing.assert_close(corners * SIDE, result["boxes"], atol=1e-3, rtol=1e-4)
