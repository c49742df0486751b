"""YOLOS (arXiv 2106.00666): a plain ViT whose detection tokens are the queries.

There is no decoder: tokens of queries and of patches attend to each other in every layer, so other queries mean another
pass through the whole network. What enters the network as a query is the sum of a token and its position, and is what
hooks replace.

The larger published sizes also add positions between the layers. Their tokens have such positions of their own, which
are no part of a query: foreign queries get none there, and so do their own when they are replayed. New detectors have
no such positions, and replay exactly.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import YolosForObjectDetection

from detrdistill.catalog import Patches, Size
from detrdistill.detectors.backbones import init_vit
from detrdistill.detectors.detector import Detector, Heads
from detrdistill.detectors.groups import unflatten
from detrdistill.detectors.hooks import Decoding
from detrdistill.outputs import DetectorOutput, Queries, Targets


class Yolos(Detector):
    """YOLOS. Its heads are trained on the last layer alone, so that layer is the only one with predictions."""

    family = "yolos"
    model_class = YolosForObjectDetection
    processor_class = "YolosImageProcessor"
    position_argument = "position_embeddings"
    shares_pass = False

    @classmethod
    def settings(cls, size: Size, image_size: int) -> dict[str, Any]:
        """Position embeddings made for the image size, and none between the layers."""
        assert isinstance(size.backbone, Patches)
        return {
            "hidden_size": size.width,
            "num_hidden_layers": size.decoder_layers,
            "num_attention_heads": size.heads,
            "intermediate_size": size.ffn,
            "image_size": [image_size, image_size],
            "patch_size": size.backbone.side,
            "num_detection_tokens": size.queries,
            "use_mid_position_embeddings": False,
        }

    @property
    def reference_size(self) -> int:
        """None."""
        return 0

    def forward(
        self,
        pixels_BCHW: Tensor,
        targets: Sequence[Targets] | None = None,
        *,
        extra_queries: Sequence[Queries] = (),
        override_queries: Queries | None = None,
        keep_maps: bool = False,
    ) -> DetectorOutput:
        """As the base class; each further group of queries is a pass of its own."""
        del targets, keep_maps
        output = self._run(pixels_BCHW, override_queries)
        return replace(output, extra_groups=tuple(self._run(pixels_BCHW, queries) for queries in extra_queries))

    def decode(self, output: DetectorOutput, queries: Queries) -> DetectorOutput:
        """Run the whole network with other queries over the pixels of an earlier pass; the memory is its own."""
        return self._run(output.decoder_call["pixel_values"], queries)

    def second_pass(self, pixels_BCHW: Tensor, output: DetectorOutput, queries: Queries) -> DetectorOutput:
        """Run the whole network with other queries: they enter where the pixels do."""
        del output
        return self._run(pixels_BCHW, queries)

    def run_model(self, pixels_BCHW: Tensor, targets: Sequence[Targets] | None) -> Any:
        """Call the model below its heads."""
        del targets
        return self.model.vit(pixel_values=pixels_BCHW)

    def watch_neck(self, found: Callable[[tuple[Tensor, ...]], None]) -> RemovableHandle:
        """The patch embeddings, before positions are added."""

        def after_projection(_: nn.Module, __: tuple[Any, ...], feature_BDHW: Tensor) -> None:
            found((feature_BDHW,))

        return self.model.vit.embeddings.patch_embeddings.projection.register_forward_hook(after_projection)

    def heads(self, decoding: Decoding) -> Heads:
        """Apply the heads to the last layer's detection tokens."""
        hidden_BQD = decoding.output
        logits_BQC = self.model.class_labels_classifier(hidden_BQD).float()
        boxes_BQ4 = self.model.bbox_predictor(hidden_BQD).float().sigmoid()
        return Heads(logits_BQC[None], boxes_BQ4[None], hidden_BQD.float()[None])

    def init_weights(self) -> None:
        """See `_init_yolos`."""
        _init_yolos(self.model)

    def backbone_prefixes(self) -> tuple[str, ...]:
        """The ViT, detection tokens included."""
        return ("model.vit.",)

    def _run(self, pixels_BCHW: Tensor, given: Queries | None) -> DetectorOutput:
        necks: list[tuple[Tensor, ...]] = []
        with ExitStack() as stack:
            stack.callback(self.watch_neck(necks.append).remove)
            if given is not None:
                stack.enter_context(self._detecting(given))
            tokens_BTD = self.run_model(pixels_BCHW, None).last_hidden_state
        (neck,) = necks
        queries = given or self._own(len(pixels_BCHW))
        count = queries.content_BQD.shape[1]
        output = self._select(self.heads(Decoding(output=tokens_BTD[:, -count:])), slice(None))
        height, width = neck[0].shape[-2:]
        return replace(
            output,
            queries=queries,
            neck=neck,
            memory=unflatten(tokens_BTD[:, 1:-count], [(height, width)]),  # the first token is that of the class
            decoder_call={"pixel_values": pixels_BCHW},
        )

    def _own(self, images: int) -> Queries:
        embeddings = self.model.vit.embeddings
        content_1QD = embeddings.detection_tokens
        position_1QD = embeddings.position_embeddings[:, -content_1QD.shape[1] :]
        return Queries(content_1QD.expand(images, -1, -1), position_1QD.expand(images, -1, -1))

    @contextmanager
    def _detecting(self, queries: Queries) -> Iterator[None]:
        """Let other queries take the place of the detection tokens.

        Raises:
            ValueError: they have no positional part.
        """
        if queries.position_BQD is None:
            raise ValueError("YOLOS needs a positional part with every query")
        token_BQD = queries.content_BQD + queries.position_BQD
        own = self.model.config.num_detection_tokens

        def after_embedding(_: nn.Module, __: tuple[Any, ...], embedded_BTD: Tensor) -> Tensor:
            return torch.cat([embedded_BTD[:, :-own], token_BQD], dim=1)

        def after_interpolation(_: nn.Module, __: tuple[Any, ...], position_L1TD: Tensor) -> Tensor:
            rest_L1TD = position_L1TD[:, :, :-own]
            none_L1QD = rest_L1TD.new_zeros(*rest_L1TD.shape[:2], token_BQD.shape[1], rest_L1TD.shape[-1])
            return torch.cat([rest_L1TD, none_L1QD], dim=2)

        vit = self.model.vit
        handles = [vit.embeddings.register_forward_hook(after_embedding)]
        if self.model.config.use_mid_position_embeddings:
            handles.append(vit.encoder.interpolation.register_forward_hook(after_interpolation))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


@torch.no_grad()
def _init_yolos(model: Any) -> None:
    """Start as the published code does; transformers starts all tokens and positions at zero, so all queries alike.

    Source: YOLOS's release, `models/backbone.py`.
    """
    init_vit(model.vit)
    embeddings = model.vit.embeddings
    for tokens in (embeddings.cls_token, embeddings.detection_tokens, embeddings.position_embeddings):
        nn.init.trunc_normal_(tokens, std=0.02)
