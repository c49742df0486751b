"""The one interface to every detector, and the machinery its families share.

A detector of `transformers` is left as it is. Two hooks around one forward pass read what distillation needs: what
enters the encoder, and the call of the decoder. Calling the decoder again with other queries *is* the extra query
group of the method; running two groups in one call needs self-attention within each group, which is done by calling
each layer's self-attention once per group. No mask is involved, so nothing, not even a NaN, can leak across groups.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from detrdistill.catalog import CATALOG, Family, FamilyName
from detrdistill.outputs import Denoising, DetectorOutput, Prediction, Queries, Targets
from detrdistill.preprocessing import Preprocessing


@dataclass(frozen=True)
class Heads:
    """What the prediction heads say of all queries of one decoder call."""

    logits_LBQC: Tensor
    boxes_LBQ4: Tensor
    hidden_LBQD: Tensor
    initial: Prediction | None = None


@dataclass
class _Tap:
    """What the hooks saw during one forward pass."""

    neck: tuple[Tensor, ...] = ()
    own_call: dict[str, Any] = field(default_factory=dict)
    """The decoder call as the model made it."""
    call: dict[str, Any] = field(default_factory=dict)
    """The decoder call as it was carried out."""
    output: Any = None


class Detector(nn.Module, ABC):
    """A detector of `transformers` behind the project's interface.

    Attributes:
        model: the wrapped `...ForObjectDetection`, whose weights are the student's. Typed `Any` because the
            library's models share no typed interface below `PreTrainedModel`.
        preprocessing: the input it was built or trained for.
    """

    family: ClassVar[FamilyName]
    processor_class: ClassVar[str]
    """Image processor of `transformers` that prepares the exported model's input."""
    position_argument: ClassVar[str | None] = None
    """Decoder argument of the positional query part; None: derived from the reference."""
    content_argument: ClassVar[str] = "inputs_embeds"
    reference_argument: ClassVar[str] = "reference_points"
    slow_layers: ClassVar[tuple[str, ...]] = ()
    """Parts of parameter names that learn at a tenth of the rate, as published."""
    mask_argument: ClassVar[str | None] = None
    """Decoder argument that masks self-attention among the model's own queries."""

    def __init__(self, model: PreTrainedModel, preprocessing: Preprocessing):
        super().__init__()
        self.model: Any = model
        self.preprocessing = preprocessing

    # ---- what callers use

    @property
    def info(self) -> Family:
        """The catalog's entry of this family."""
        return CATALOG[self.family]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by output index."""
        names: Any = self.model.config.id2label
        return tuple(names[index] for index in range(len(names)))

    @property
    def width(self) -> int:
        """Channels of the queries and of the memory."""
        return self.model.config.d_model

    @property
    def layers(self) -> int:
        """Decoder layers."""
        return self.model.config.decoder_layers

    @property
    def detections_per_image(self) -> int:
        """Detections the family's image processor keeps by default."""
        return self.info.detections_per_image or self.model.config.num_queries

    @property
    @abstractmethod
    def reference_size(self) -> int:
        """Coordinates of the reference points the decoder takes: 2 or 4."""

    @property
    def derives_reference(self) -> bool:
        """It computes initial reference points from the positional part of a query."""
        return False

    def forward(
        self,
        pixels_BCHW: Tensor,
        targets: Sequence[Targets] | None = None,
        *,
        beside: Queries | None = None,
        instead: Queries | None = None,
    ) -> DetectorOutput:
        """Run the detector.

        Args:
            pixels_BCHW: images, preprocessed for this detector, all of one size.
            targets: ground truth; in training mode, families with denoising queries build them from it.
            beside: a second group of queries that shares this pass; its predictions are `output.group`.
            instead: queries that take the place of the detector's own.

        Returns:
            Predictions of every decoder layer, features and queries.
        """
        tap = _Tap()
        with ExitStack() as stack:
            stack.enter_context(self.scoring_every_layer())
            stack.enter_context(self._tapped(tap, beside, instead))
            raw = self.run_model(pixels_BCHW, targets)
        heads = self.heads(tap.output, tap.call)
        own = _count(tap.own_call[self.content_argument]) if instead is None else _count(instead.content_BQD)
        noised = self.denoising_count(raw)
        output = self._select(heads, slice(noised, own))
        queries = instead or self._queries(tap.own_call, slice(noised, own))
        group = None
        if beside is not None:
            group = replace(self._select(heads, slice(own, None)), queries=self.completed(beside))
        return replace(
            output,
            queries=queries,
            neck=tap.neck,
            memory=self.memory_maps(tap.call),
            proposals=self.proposals(raw),
            denoising=self._denoising(heads, raw, noised),
            group=group,
            decoder_call=tap.own_call | ({self.mask_argument: None} if self.mask_argument else {}),
        )

    def decode(self, output: DetectorOutput, queries: Queries) -> DetectorOutput:
        """Run the decoder once more, with other queries over the memory of an earlier forward pass."""
        queries = self.completed(queries)
        call = dict(output.decoder_call) | self._arguments(queries)
        with self.scoring_every_layer():
            decoder_output = self.decoder(**call)
        heads = self.heads(decoder_output, call)
        return replace(self._select(heads, slice(None)), queries=queries, memory=output.memory)

    def detections(self, output: DetectorOutput) -> tuple[Tensor, Tensor, Tensor]:
        """The detections the family's image processor would report, without a score threshold.

        Returns:
            scores `[B, R]` in [0, 1], class indices `[B, R]` and boxes `[B, R, 4]` in (cx, cy, w, h), best first.
        """
        scores_BQC = output.logits_LBQC[-1].sigmoid()
        classes = scores_BQC.shape[-1]
        keep = min(self.detections_per_image, scores_BQC[0].numel())
        scores_BR, flat_BR = scores_BQC.flatten(1).topk(keep, dim=1)
        query_BR = flat_BR // classes
        boxes_BR4 = output.boxes_LBQ4[-1].gather(1, query_BR[..., None].expand(-1, -1, 4))
        return scores_BR, flat_BR % classes, boxes_BR4

    def backbone_prefixes(self) -> tuple[str, ...]:
        """Name prefixes of the backbone's parameters, which may learn at their own rate."""
        return ("model.model.backbone.",)

    # ---- what a family says of itself

    @property
    def decoder(self) -> nn.Module:
        """The decoder module, whose `layers` have a `self_attn` each."""
        return self.model.model.decoder

    @abstractmethod
    def run_model(self, pixels_BCHW: Tensor, targets: Sequence[Targets] | None) -> Any:
        """Call the model below its loss."""

    @abstractmethod
    def neck_maps(self, arguments: Sequence[Any], call: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """Feature maps among the arguments of the encoder call."""

    @abstractmethod
    def heads(self, decoder_output: Any, call: Mapping[str, Any]) -> Heads:
        """Predictions of every decoder layer for all queries of a decoder call."""

    def memory_maps(self, call: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """Feature maps the decoder attends to."""
        return unflatten(call["encoder_hidden_states"], call["spatial_shapes_list"])

    def proposals(self, raw: Any) -> Prediction | None:
        """First-stage prediction; None where the queries are learned."""
        del raw
        return None

    def denoising_count(self, raw: Any) -> int:
        """Denoising queries that precede the model's own."""
        del raw
        return 0

    def denoising_pairs(self, raw: Any) -> tuple[Tensor, Tensor, Tensor, int]:
        """Image, query and target of each denoising pair, and the number of groups."""
        raise NotImplementedError(f"{self.family} has no denoising queries")

    def scoring_every_layer(self) -> AbstractContextManager[None]:
        """Context in which the decoder scores every layer, also in evaluation mode."""
        return nullcontext()

    def completed(self, queries: Queries) -> Queries:
        """Fill in the parts of foreign queries that this family derives itself.

        Raises:
            ValueError: a part is missing that cannot be derived.
        """
        if queries.reference_BQK is None:
            raise ValueError(f"{self.family} needs reference points with every query")
        return queries

    def reference_argument_of(self, reference_BQK: Tensor) -> Tensor:
        """References in [0, 1] to what the decoder takes."""
        return reference_BQK

    def reference_of_argument(self, argument_BQK: Tensor) -> Tensor:
        """What the decoder takes to references in [0, 1]."""
        return argument_BQK

    # ---- machinery

    @contextmanager
    def _tapped(self, tap: _Tap, beside: Queries | None, instead: Queries | None) -> Iterator[None]:
        with ExitStack() as stack:

            def before_encoder(_: nn.Module, arguments: tuple[Any, ...], call: dict[str, Any]) -> None:
                tap.neck = self.neck_maps(arguments, call)

            def before_decoder(
                _: nn.Module, arguments: tuple[Any, ...], call: dict[str, Any]
            ) -> tuple[tuple[Any, ...], dict[str, Any]]:
                tap.own_call = dict(call)
                tap.call = dict(call)
                if instead is not None:
                    tap.own_call = tap.call = call | self._arguments(self.completed(instead))
                if beside is not None:
                    extra = self._arguments(self.completed(beside))
                    tap.call = call | {name: torch.cat([call[name], extra[name]], dim=1) for name in extra}
                    sizes = (_count(call[self.content_argument]), _count(beside.content_BQD))
                    stack.enter_context(attention_within_groups(self.decoder, sizes))
                return arguments, tap.call

            def after_decoder(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
                tap.output = output

            encoder = self.model.model.encoder
            for handle in (
                encoder.register_forward_pre_hook(before_encoder, with_kwargs=True),
                self.decoder.register_forward_pre_hook(before_decoder, with_kwargs=True),
                self.decoder.register_forward_hook(after_decoder),
            ):
                stack.callback(handle.remove)
            yield

    def _arguments(self, queries: Queries) -> dict[str, Tensor]:
        arguments = {self.content_argument: queries.content_BQD}
        if self.position_argument is not None and queries.position_BQD is not None:
            arguments[self.position_argument] = queries.position_BQD
        if queries.reference_BQK is not None:
            arguments[self.reference_argument] = self.reference_argument_of(queries.reference_BQK)
        return arguments

    def _queries(self, call: Mapping[str, Any], which: slice) -> Queries:
        position = call[self.position_argument][:, which] if self.position_argument else None
        reference = self.reference_of_argument(call[self.reference_argument][:, which])
        return Queries(call[self.content_argument][:, which], position, reference)

    def _select(self, heads: Heads, which: slice) -> DetectorOutput:
        initial = heads.initial
        if initial is not None:
            initial = Prediction(initial.logits_BQC[:, which], initial.boxes_BQ4[:, which])
        return DetectorOutput(
            logits_LBQC=heads.logits_LBQC[:, :, which],
            boxes_LBQ4=heads.boxes_LBQ4[:, :, which],
            hidden_LBQD=heads.hidden_LBQD[:, :, which],
            queries=Queries(heads.hidden_LBQD[0, :, :0]),
            initial=initial,
        )

    def _denoising(self, heads: Heads, raw: Any, count: int) -> Denoising | None:
        if count == 0:
            return None
        logits_LBQC, boxes_LBQ4 = self._select(heads, slice(count)).supervised()
        return Denoising(logits_LBQC, boxes_LBQ4, *self.denoising_pairs(raw))


@contextmanager
def attention_within_groups(decoder: nn.Module, sizes: Sequence[int]) -> Iterator[None]:
    """Let queries attend only within their group, by one self-attention call per group.

    Args:
        decoder: has `layers`, each with a `self_attn` called with keyword arguments.
        sizes: consecutive numbers of queries; a mask argument belongs to the first group.
    """

    def grouped(attention: nn.Module) -> Any:
        ungrouped = attention.forward

        def forward(
            hidden_states: Tensor,
            attention_mask: Tensor | None = None,
            position_embeddings: Tensor | None = None,
            **rest: Any,
        ) -> tuple[Tensor, None]:
            positions: Sequence[Tensor | None] = [None] * len(sizes)
            if position_embeddings is not None:
                positions = position_embeddings.split(sizes, dim=1)
            masks = [attention_mask] + [None] * (len(sizes) - 1)
            groups = zip(hidden_states.split(sizes, dim=1), positions, masks, strict=True)
            parts = [
                ungrouped(hidden, attention_mask=mask, position_embeddings=position, **rest)[0]
                for hidden, position, mask in groups
            ]
            return torch.cat(parts, dim=1), None

        return forward

    attentions = [layer.self_attn for layer in decoder.layers]  # pyright: ignore[reportGeneralTypeIssues]
    for attention in attentions:
        attention.forward = grouped(attention)
    try:
        yield
    finally:
        for attention in attentions:
            del attention.forward


def unflatten(tokens_BTD: Tensor, shapes: Sequence[tuple[int, int]]) -> tuple[Tensor, ...]:
    """Tokens of all levels to one `feature_BDHW` per level."""
    levels = tokens_BTD.split([height * width for height, width in shapes], dim=1)
    return tuple(
        level.transpose(1, 2).unflatten(2, (height, width))
        for level, (height, width) in zip(levels, shapes, strict=True)
    )


def _count(queries_BQX: Tensor) -> int:
    return queries_BQX.shape[1]
