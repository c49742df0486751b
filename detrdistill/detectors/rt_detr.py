"""RT-DETR (arXiv 2304.08069) and RT-DETRv2 (arXiv 2407.17140)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import RTDetrForObjectDetection, RTDetrResNetConfig, RTDetrV2ForObjectDetection

from detrdistill.boxes import inverse_sigmoid
from detrdistill.catalog import ResNet, Size
from detrdistill.detectors.detector import Detector, Heads
from detrdistill.detectors.hooks import Decoding
from detrdistill.outputs import Prediction, Targets


class RTDetr(Detector):
    """RT-DETR: hybrid encoder, queries picked from its output, contrastive denoising in training."""

    family = "rt-detr"
    model_class = RTDetrForObjectDetection
    processor_class = "RTDetrImageProcessor"
    mask_argument = "encoder_attention_mask"  # transformers' name for the self-attention mask
    modules_before_encoder = ("backbone", "encoder_input_proj")

    @classmethod
    def settings(cls, size: Size, image_size: int) -> dict[str, Any]:
        """A ResNet of three levels, and as many in the hybrid encoder."""
        del image_size
        backbone = size.backbone
        assert isinstance(backbone, ResNet)
        return {
            "backbone_config": RTDetrResNetConfig(
                embedding_size=backbone.stem,
                hidden_sizes=list(backbone.stages),
                depths=list(backbone.blocks),
                layer_type="bottleneck" if backbone.bottleneck else "basic",
                out_features=["stage2", "stage3", "stage4"],  # pyright: ignore[reportCallIssue]
            ),
            "freeze_backbone_batch_norms": False,
            "encoder_in_channels": list(backbone.stages[1:]),
            "encoder_hidden_dim": size.width,
            "encoder_layers": size.encoder_layers,
            "encoder_ffn_dim": size.ffn,
            "encoder_attention_heads": size.heads,
            "hidden_expansion": size.expansion,
            "decoder_in_channels": [size.width] * 3,
            "d_model": size.width,
            "decoder_layers": size.decoder_layers,
            "decoder_ffn_dim": size.ffn,
            "decoder_attention_heads": size.heads,
            "num_queries": size.queries,
            "num_denoising": size.denoising,
        }

    @property
    def reference_size(self) -> int:
        """Boxes."""
        return 4

    def run_model(self, pixels_BCHW: Tensor, targets: Sequence[Targets] | None) -> Any:
        """Call the model below its loss, with labels so that it builds denoising queries."""
        labels = None
        if targets is not None and self.training:
            labels = [{"class_labels": target.labels_N, "boxes": target.boxes_N4} for target in targets]
        return self.model.model(pixel_values=pixels_BCHW, labels=labels)

    def watch_neck(self, found: Callable[[tuple[Tensor, ...]], None]) -> RemovableHandle:
        """The projected backbone maps; the encoder replaces entries of this very list, so it is copied."""

        def before_encoder(_: nn.Module, arguments: tuple[Any, ...], call: dict[str, Any]) -> None:
            found(tuple(arguments[0] if arguments else call["inputs_embeds"]))

        return self.model.model.encoder.register_forward_pre_hook(before_encoder, with_kwargs=True)

    def heads(self, decoding: Decoding) -> Heads:
        """The decoder applies its heads itself."""
        decoder_output = decoding.output
        return Heads(
            decoder_output.intermediate_logits.transpose(0, 1).float(),
            decoder_output.intermediate_reference_points.transpose(0, 1).float(),
            decoder_output.intermediate_hidden_states.transpose(0, 1).float(),
        )

    def proposals(self, raw: Any) -> Prediction:
        """The encoder's predictions that became queries."""
        return Prediction(raw.enc_topk_logits.float(), raw.enc_topk_bboxes.float())

    def denoising_count(self, raw: Any) -> int:
        """Denoising queries come first."""
        meta = raw.denoising_meta_values
        return 0 if meta is None else meta["dn_num_split"][0]

    def denoising_pairs(self, raw: Any) -> tuple[Tensor, Tensor, Tensor, int]:
        """`transformers` lists, per image, the query of each target, group after group."""
        meta = raw.denoising_meta_values
        groups: int = meta["dn_num_group"]
        queries: Sequence[Tensor] = meta["dn_positive_idx"]
        image = [torch.full_like(query, index) for index, query in enumerate(queries)]
        target = [torch.arange(len(query) // groups, device=query.device).repeat(groups) for query in queries]
        return torch.cat(image), torch.cat(list(queries)), torch.cat(target), groups

    def reference_argument_of(self, reference_BQK: Tensor) -> Tensor:
        """The decoder takes logits."""
        return inverse_sigmoid(reference_BQK)

    def reference_of_argument(self, argument_BQK: Tensor) -> Tensor:
        """The decoder takes logits."""
        return argument_BQK.sigmoid()


class RTDetrV2(RTDetr):
    """RT-DETRv2: RT-DETR with its own sampling of the attention points."""

    family = "rt-detr-v2"
    model_class = RTDetrV2ForObjectDetection
