"""AdaMixer as a whole, and as a model of transformers; its blocks are in `test_adamixer_blocks`."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForObjectDetection, DeformableDetrImageProcessor, ResNetConfig

from detrdistill.detectors import adamixer
from detrdistill.detectors.adamixer import AdaMixerConfig, AdaMixerForObjectDetection
from detrdistill.detectors.adamixer.geometry import to_boxes
from tests.support.factories import criterion_of, output_of, targets_of

SIDE = 64


def tiny(**changes: object) -> AdaMixerForObjectDetection:
    stages = [f"stage{stage}" for stage in range(1, 5)]
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 32, 64], depths=[1] * 4, layer_type="basic", out_features=stages
    )
    settings = {
        "backbone_config": backbone,
        "num_labels": 3,
        "num_queries": 10,
        "d_model": 64,
        "decoder_layers": 2,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 64,
        "in_points": 8,
        "out_points": 16,
    }
    torch.manual_seed(0)
    return AdaMixerForObjectDetection(AdaMixerConfig(**(settings | changes)))


@pytest.fixture
def model() -> AdaMixerForObjectDetection:
    """As after some training: no weight is zero."""
    model = tiny()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def pixels(height: int = SIDE, width: int = SIDE) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_the_published_model_has_135_million_parameters():
    """ResNet-50 without its classifier, neck, 100 contents, and six layers, each counted from the paper."""
    with torch.device("meta"):
        model = AdaMixerForObjectDetection(AdaMixerConfig(num_labels=80))
    width, ffn, groups, channels, sampled, mixed = 256, 2048, 4, 64, 32, 128
    matrices = groups * (channels**2 + sampled * mixed)
    layer = (
        4 * (width + 1) * width + 8  # self-attention and tau
        + (width + 1) * groups * sampled * 3
        + (width + 1) * matrices + (groups * mixed * channels + 1) * width
        + (width + 1) * ffn + (ffn + 1) * width
        + 2 * (width + 1) * width + (width + 1) * (80 + 4)
        + 5 * 2 * width  # layer norms
    )  # fmt: skip
    neck = (256 + 512 + 1024 + 2048 + 4) * width + 2 * width
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == 23_508_032 + neck + 100 * width + 6 * layer == 134_790_504


def test_a_new_model_starts_as_published():
    decoder = tiny().model.decoder
    for layer in decoder.layers:
        offsets = layer.sampling.offsets
        assert not offsets.weight.any()
        assert (offsets.bias.view(-1, 3)[:, 2] == -1).all()
        assert 0.3 < offsets.bias.view(-1, 3)[:, :2].abs().max() <= 0.5
        assert not layer.mixing.matrices.weight.any()
        assert layer.mixing.matrices.bias.any()
        assert 0 <= layer.self_attn.tau.min() < layer.self_attn.tau.max() <= 4
        assert not layer.self_attn.projection.bias.any()
        torch.testing.assert_close(layer.class_head.output.bias.sigmoid(), torch.full((3,), 0.01))
        assert layer.ffn[0].weight.abs().max().item() == pytest.approx(math.sqrt(6 / (64 + 64)), rel=1e-2)


def test_every_query_starts_from_the_whole_image():
    output = tiny()(pixel_values=pixels(48, 80))
    torch.testing.assert_close(output.pred_boxes, torch.tensor([0.5, 0.5, 1.0, 1.0]).expand(2, 10, 4))


def test_layers_are_reported_and_the_last_is_the_output(model: AdaMixerForObjectDetection):
    model.eval()
    with torch.no_grad():
        layers, output = model.model(pixels()), model(pixel_values=pixels())
    assert layers.intermediate_hidden_states.shape == (2, 2, 10, 64)
    assert layers.intermediate_logits.shape == (2, 2, 10, 3)
    assert layers.intermediate_boxes.shape == (2, 2, 10, 4)
    assert torch.equal(layers.intermediate_logits[:, -1], output.logits)
    assert torch.equal(layers.intermediate_boxes[:, -1], output.pred_boxes)


def test_the_second_layer_starts_from_the_boxes_of_the_first(model: AdaMixerForObjectDetection):
    model.eval()
    calls: list[dict[str, Tensor]] = []
    for layer in model.model.decoder.layers:
        layer.self_attn.register_forward_pre_hook(lambda _, __, call: calls.append(call), with_kwargs=True)
    output = model.model(pixels(48, 80))
    scale = torch.tensor([80.0, 48.0, 80.0, 48.0])
    torch.testing.assert_close(to_boxes(calls[1]["xyzr"]) / scale, output.intermediate_boxes[:, 0])
    assert output.intermediate_boxes.requires_grad
    assert not calls[1]["xyzr"].requires_grad


def test_two_groups_share_a_pass_if_self_attention_runs_once_for_each(model: AdaMixerForObjectDetection):
    """What the second query group of the method relies on: its keyword arguments have the queries on axis 1."""
    decoder = model.eval().model.decoder
    features = model.model.neck(model.model.backbone(pixels()).feature_maps)
    content, reference = torch.randn(2, 7, 64), torch.rand(2, 7, 4) * 0.3 + 0.3

    def decode(which: slice) -> Tensor:
        queries = {"inputs_embeds": content[:, which], "reference_points": reference[:, which]}
        return decoder(**queries, features=features, image_size=(SIDE, SIDE)).intermediate_boxes

    first, second, together = decode(slice(4)), decode(slice(4, 7)), decode(slice(7))
    for layer in decoder.layers:

        def forward(ungrouped: Callable[..., tuple[Tensor, None]] = layer.self_attn.forward, **arguments: Tensor):
            split = {name: tensor.split([4, 3], dim=1) for name, tensor in arguments.items()}
            groups = [{name: tensors[group] for name, tensors in split.items()} for group in (0, 1)]
            return torch.cat([ungrouped(**group)[0] for group in groups], dim=1), None

        layer.self_attn.forward = forward
    apart = decode(slice(7))
    torch.testing.assert_close(apart, torch.cat([first, second], dim=2), atol=1e-5, rtol=0)
    assert not torch.allclose(apart, together, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(33, 97), (61, 45)])
def test_odd_sizes_and_boxes_without_area_are_harmless(model: AdaMixerForObjectDetection, height: int, width: int):
    features = model.model.neck(model.model.backbone(pixels(height, width)).feature_maps)
    reference = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0], [2.0, 2.0, 0.1, 0.1]]).expand(2, 3, 4)
    content = torch.randn(2, 3, 64, requires_grad=True)
    output = model.model.decoder(
        inputs_embeds=content, reference_points=reference, features=features, image_size=(height, width)
    )
    (output.intermediate_logits.sum() + output.intermediate_boxes.sum()).backward()
    assert content.grad is not None
    for tensor in (*output.values(), content.grad):
        assert tensor.isfinite().all()


def test_gradients_reach_every_parameter(model: AdaMixerForObjectDetection):
    output = model.model(pixels())
    (output.intermediate_logits.square().sum() + output.intermediate_boxes.square().sum()).backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []


def test_it_learns_two_images_by_heart():
    model, criterion, images = tiny().train(), criterion_of(), pixels()
    targets = [
        targets_of([0, 2], [[0.3, 0.3, 0.2, 0.4], [0.7, 0.6, 0.3, 0.2]]),
        targets_of([1], [[0.5, 0.4, 0.4, 0.4]]),
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(40):
        output = model.model(images)
        logits, boxes = (tensor.transpose(0, 1) for tensor in (output.intermediate_logits, output.intermediate_boxes))
        terms = criterion(output_of(logits, boxes), targets)
        loss = torch.stack([criterion.weights()[name] * term for name, term in terms.items()]).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]


def test_autocast_keeps_boxes_in_float32(model: AdaMixerForObjectDetection):
    model.eval()
    plain = model.model(pixels())
    with torch.autocast("cpu", torch.bfloat16):
        output = model.model(pixels())
    assert output.intermediate_boxes.dtype == output.intermediate_logits.dtype == torch.float32
    (output.intermediate_logits.sum() + output.intermediate_boxes.sum()).backward()
    assert all(tensor.isfinite().all() for tensor in output.values())
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
    torch.testing.assert_close(output.intermediate_boxes, plain.intermediate_boxes, atol=0.05, rtol=0.05)


def test_weights_in_bfloat16_keep_boxes_in_float32(model: AdaMixerForObjectDetection):
    with torch.no_grad():
        plain, output = model.eval()(pixels()), model.bfloat16()(pixels().bfloat16())
    assert output.pred_boxes.dtype == output.logits.dtype == torch.float32
    torch.testing.assert_close(output.pred_boxes, plain.pred_boxes, atol=0.05, rtol=0.05)


def test_what_it_does_not_take_is_said(model: AdaMixerForObjectDetection):
    with pytest.raises(ValueError, match=r"detrdistill\.losses\.set_criterion\.SetCriterion"):
        model(pixels(), labels=[{}])
    mask = torch.ones(2, SIDE, SIDE, dtype=torch.int64)
    model(pixels(), pixel_mask=mask)
    mask[1, 40:] = 0
    with pytest.raises(ValueError, match="without padding"):
        model(pixels(), pixel_mask=mask)
    with pytest.raises(ValueError, match="4 stages"):
        tiny(feature_strides=[8, 16, 32])
    with pytest.raises(ValueError, match="divisible by 5"):
        AdaMixerConfig(groups=5)


# ---- in transformers


@pytest.mark.export
def test_the_library_loads_what_it_saved(model: AdaMixerForObjectDetection, tmp_path: Path):
    adamixer.register()  # a second time
    model.eval().save_pretrained(tmp_path)
    loaded, report = AutoModelForObjectDetection.from_pretrained(tmp_path, output_loading_info=True)
    assert (set(report["missing_keys"]), set(report["unexpected_keys"])) == (set(), set())
    assert isinstance(loaded, AdaMixerForObjectDetection)
    assert isinstance(loaded.config.backbone_config, ResNetConfig)
    with torch.no_grad():
        ours, theirs = model(pixels(33, 97)), loaded.eval()(pixels(33, 97))
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.pred_boxes, theirs.pred_boxes)


@pytest.mark.export
def test_missing_tensors_start_as_published_and_the_others_are_kept(model: AdaMixerForObjectDetection, tmp_path: Path):
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    weight, bias = (f"model.decoder.layers.{name}" for name in ("0.sampling.offsets.weight", "1.sampling.offsets.bias"))
    kept = {name: tensor for name, tensor in tensors.items() if name not in (weight, bias)}
    assert len(kept) == len(tensors) - 2
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    state = AutoModelForObjectDetection.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in kept.items())
    assert (state[bias].view(-1, 3)[:, 2] == -1).all()
    assert not state[weight].any()


def test_the_image_processor_reads_its_output(model: AdaMixerForObjectDetection):
    with torch.no_grad():
        output = model.eval()(pixels())
    found = DeformableDetrImageProcessor().post_process_object_detection(
        output, 0.0, target_sizes=[(SIDE, 2 * SIDE)] * 2
    )
    scores, flat = output.logits[0].sigmoid().flatten().sort(descending=True)
    torch.testing.assert_close(found[0]["scores"], scores)
    assert found[0]["labels"].tolist() == (flat % 3).tolist()
    best = output.pred_boxes[0, flat[0] // 3] * torch.tensor([2.0, 1.0, 2.0, 1.0]) * SIDE
    torch.testing.assert_close(found[0]["boxes"][0], torch.cat([best[:2] - best[2:] / 2, best[:2] + best[2:] / 2]))
