"""The one interface to every detector, and what its families share.

A detector of `transformers` is left as it is: `hooks` read what distillation needs of one forward pass, namely what
enters the encoder, the call of the decoder, and what its layers give. Calling the decoder again with other queries *is*
the extra query group of the method; running several groups in one call needs self-attention within each group, which is
done by calling each layer's self-attention once per group. No mask is involved, so nothing, not even a NaN, can leak
across groups.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from detrdistill.catalog import CATALOG, Family, FamilyName, Size
from detrdistill.detectors.batch_norms import statistics_kept
from detrdistill.detectors.groups import consecutive, unflatten
from detrdistill.detectors.hooks import Decoding, Tap, layers_tapped, tapped
from detrdistill.detectors.replay import recorded, replayed
from detrdistill.files.preprocessing import Preprocessing
from detrdistill.outputs import BoxBins, Denoising, DetectorOutput, Prediction, Queries, Targets, best_detections


@dataclass(frozen=True)
class Heads:
    """What the prediction heads say of all queries of one decoder call."""

    logits_LBQC: Tensor
    boxes_LBQ4: Tensor
    hidden_LBQD: Tensor
    initial: Prediction | None = None
    bins: BoxBins | None = None


class Detector(nn.Module, ABC):
    """A detector of `transformers` behind the project's interface.

    Attributes:
        model: the wrapped `...ForObjectDetection`, whose weights are the student's. Typed `Any` because the
            library's models share no typed interface below `PreTrainedModel`.
        preprocessing: the input it was built or trained for.
    """

    family: ClassVar[FamilyName]
    model_class: ClassVar[type[PreTrainedModel]]
    """Class of the wrapped model."""
    processor_class: ClassVar[str]
    """Image processor of `transformers` that prepares the exported model's input."""
    position_argument: ClassVar[str | None] = None
    """Decoder argument of the positional query part; None: derived from the reference."""
    content_argument: ClassVar[str] = "inputs_embeds"
    reference_argument: ClassVar[str | None] = "reference_points"
    """Decoder argument of the reference points; None: the decoder derives them from the positional part."""
    slow_layers: tuple[str, ...] = ()
    """Parts of parameter names that learn at a tenth of the rate, as published."""
    mask_argument: ClassVar[str | None] = None
    """Decoder argument that masks self-attention among the model's own queries."""
    shares_pass: ClassVar[bool] = True
    """Several groups of queries can share a decoder pass; else each takes one of its own, with the same result."""
    modules_before_encoder: ClassVar[tuple[str, ...]] = ("backbone",)
    """Names below `model.model` of the modules that make the feature maps which enter the encoder."""

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
        return getattr(self.model.config, self.info.config_fields.width[0])

    @property
    def layers(self) -> int:
        """Decoder layers."""
        return getattr(self.model.config, self.info.config_fields.decoder_layers[0])

    @property
    def detections_per_image(self) -> int:
        """Detections the family's image processor keeps by default."""
        return self.info.detections_per_image or getattr(self.model.config, self.info.config_fields.queries[0])

    @property
    @abstractmethod
    def reference_size(self) -> int:
        """Coordinates of the reference points the decoder takes: 2 or 4; 0 where it takes none."""

    @property
    def further_query_groups(self) -> int:
        """Further groups of its own queries that it runs in training (Group DETR)."""
        return 0

    @property
    def side_multiple(self) -> int:
        """Pixels of which height and width of the input must be multiples."""
        return 32

    @property
    def derives_reference(self) -> bool:
        """It computes initial reference points from the positional part of a query."""
        return False

    def forward(
        self,
        pixels_BCHW: Tensor,
        targets: Sequence[Targets] | None = None,
        *,
        extra_queries: Sequence[Queries] = (),
        override_queries: Queries | None = None,
        keep_maps: bool = False,
    ) -> DetectorOutput:
        """Run the detector.

        Args:
            pixels_BCHW: images, preprocessed for this detector, all of one size.
            targets: ground truth; in training mode, families with denoising queries build them from it.
            extra_queries: groups of queries over the same memory; their predictions are `output.extra_groups`.
            override_queries: queries that take the place of the detector's own.
            keep_maps: keep what `second_pass` needs.

        Returns:
            Predictions of every decoder layer, features and queries.
        """
        extra_queries = [self.completed(queries) for queries in extra_queries]
        shared = extra_queries if self.shares_pass else []
        with (
            self.scoring_every_layer(),
            self._tapped(shared, override_queries) as tap,
            recorded(self._before_encoder() if keep_maps else ()) as before_encoder,
        ):
            raw = self.run_model(pixels_BCHW, targets)
        query_groups = self.further_query_groups if self.training and override_queries is None else 0
        output = replace(self._read(tap, raw, query_groups, shared), before_encoder=before_encoder)
        if self.shares_pass:
            return output
        return replace(output, extra_groups=tuple(self.decode(output, queries) for queries in extra_queries))

    def decode(self, output: DetectorOutput, queries: Queries) -> DetectorOutput:
        """Run the decoder once more, with other queries over the memory of an earlier forward pass."""
        queries = self.completed(queries)
        decoding = Decoding(dict(output.decoder_call) | self._arguments(queries))
        with self.scoring_every_layer(), layers_tapped(self.decoder, decoding):
            decoding.output = self.decoder(**decoding.call)
        heads = self.heads(decoding)
        return replace(self._select(heads, slice(None)), queries=queries, memory=output.memory)

    def second_pass(self, pixels_BCHW: Tensor, output: DetectorOutput, queries: Queries) -> DetectorOutput:
        """Run encoder and decoder once more, with other queries, over the feature maps of an earlier forward pass.

        What makes the maps does not run again: neither its dropout and drop path nor its batch norms. Those behind the
        maps normalise with the batch's statistics, but do not count the batch twice.

        Args:
            pixels_BCHW: of the earlier pass.
            output: of the earlier pass, made with `keep_maps`.
            queries: that take the place of the detector's own.
        """
        with replayed(self.model.model, self._before_encoder(), output.before_encoder), statistics_kept(self.model):
            return self.forward(pixels_BCHW, override_queries=queries)

    def detections(self, output: DetectorOutput) -> tuple[Tensor, Tensor, Tensor]:
        """The detections the family's image processor would report; see `best_detections`."""
        return best_detections(output, self.detections_per_image)

    def backbone_prefixes(self) -> tuple[str, ...]:
        """Name prefixes of the backbone's parameters, which may learn at their own rate."""
        return ("model.model.backbone.",)

    # ---- what a family says of itself

    @classmethod
    @abstractmethod
    def settings(cls, size: Size, image_size: int) -> dict[str, Any]:
        """Fields of a new model's configuration, without its labels.

        Args:
            size: dimensions from the catalog.
            image_size: side of the square input in pixels.
        """

    @property
    def decoder(self) -> nn.Module:
        """The decoder module, whose `layers` have a `self_attn` each."""
        return self.model.model.decoder

    @abstractmethod
    def run_model(self, pixels_BCHW: Tensor, targets: Sequence[Targets] | None) -> Any:
        """Call the model below its loss."""

    @abstractmethod
    def watch_neck(self, found: Callable[[tuple[Tensor, ...]], None]) -> RemovableHandle:
        """Hook the module that gives the feature maps before the encoder; call `found` with them."""

    @abstractmethod
    def heads(self, decoding: Decoding) -> Heads:
        """Predictions of every decoder layer for all queries of a decoder call."""

    def memory_maps(self, call: Mapping[str, Any], neck: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Feature maps the decoder attends to."""
        del neck
        return unflatten(call["encoder_hidden_states"], call["spatial_shapes_list"])

    def proposals(self, raw: Any) -> Prediction | None:
        """First-stage prediction; None where the queries are learned."""
        del raw
        return None

    def proposals_of_group(self, raw: Any, group: int) -> Prediction | None:
        """First-stage prediction of one of the `further_query_groups`, from 0."""
        del raw, group
        return None

    def is_class_agnostic(self, name: str) -> bool:
        """Whether the first row of this class tensor means 'object' and the others nothing."""
        del name
        return False

    def denoising_count(self, raw: Any) -> int:
        """Denoising queries that precede the model's own."""
        del raw
        return 0

    def denoising_pairs(self, raw: Any) -> tuple[Tensor, Tensor, Tensor, int]:
        """Image, query and target of each denoising pair, and the number of groups."""
        raise NotImplementedError(f"{self.family} has no denoising queries")

    def init_weights(self) -> None:
        """Redraw weights of a new detector where its published code has a start of its own."""

    def scoring_every_layer(self) -> AbstractContextManager[None]:
        """Context in which the decoder scores every layer, also in evaluation mode."""
        return nullcontext()

    def completed(self, queries: Queries) -> Queries:
        """Fill in the parts of foreign queries that this family derives itself.

        Raises:
            ValueError: a part is missing that cannot be derived.
        """
        if self.position_argument and queries.position_BQD is None:
            raise ValueError(f"{self.family} needs a positional part with every query")
        if self.reference_size and queries.reference_BQK is None:
            raise ValueError(f"{self.family} needs reference points with every query")
        return queries

    def reference_argument_of(self, reference_BQK: Tensor) -> Tensor:
        """References in [0, 1] to what the decoder takes."""
        return reference_BQK

    def reference_of_argument(self, argument_BQK: Tensor) -> Tensor:
        """What the decoder takes to references in [0, 1]."""
        return argument_BQK

    # ---- machinery

    def _before_encoder(self) -> list[tuple[str, nn.Module]]:
        """Names below `model.model` and modules; of a list of modules its members, which are called one by one."""
        found: list[tuple[str, nn.Module]] = []
        for name in self.modules_before_encoder:
            module = self.model.model.get_submodule(name)
            members = module.named_children() if isinstance(module, nn.ModuleList) else ()
            found += [(f"{name}.{index}", member) for index, member in members] or [(name, module)]
        return found

    def _tapped(
        self, extra_queries: Sequence[Queries], override_queries: Queries | None
    ) -> AbstractContextManager[Tap]:
        return tapped(
            self.decoder,
            self.watch_neck,
            self.content_argument,
            override_queries=None if override_queries is None else self._arguments(self.completed(override_queries)),
            extra_queries=[self._arguments(queries) for queries in extra_queries],
        )

    def _read(self, tap: Tap, raw: Any, query_groups: int, extra_queries: Sequence[Queries]) -> DetectorOutput:
        """The output of one forward pass.

        The query axis of its decoder call has, one after the other: denoising queries, the detector's own, further
        groups of its own, and groups of foreign queries.

        Args:
            tap: what the hooks saw.
            raw: what the model gave.
            query_groups: further groups of its own queries that it ran.
            beside: foreign queries that shared the decoder call.
        """
        heads = self.heads(tap.decoding)
        noised = self.denoising_count(raw)
        count = (_count(tap.own_call[self.content_argument]) - noised) // (1 + query_groups)
        foreign = [_count(queries.content_BQD) for queries in extra_queries]
        _, own, *further = consecutive([noised, *[count] * (1 + query_groups), *foreign])
        extra_groups = tuple(
            replace(self._select(heads, which), queries=queries)
            for which, queries in zip(further[query_groups:], extra_queries, strict=True)
        )
        return replace(
            self._select(heads, own),
            queries=self._queries(tap.own_call, own),
            neck=tap.neck,
            memory=self.memory_maps(tap.own_call, tap.neck),
            proposals=self.proposals(raw),
            denoising=self._denoising(heads, raw, noised),
            query_groups=tuple(
                replace(self._select(heads, which), proposals=self.proposals_of_group(raw, group))
                for group, which in enumerate(further[:query_groups])
            ),
            extra_groups=extra_groups,
            decoder_call=tap.own_call | ({self.mask_argument: None} if self.mask_argument else {}),
        )

    def _arguments(self, queries: Queries) -> dict[str, Tensor]:
        arguments = {self.content_argument: queries.content_BQD}
        if self.position_argument is not None and queries.position_BQD is not None:
            arguments[self.position_argument] = queries.position_BQD
        if self.reference_argument is not None and queries.reference_BQK is not None:
            arguments[self.reference_argument] = self.reference_argument_of(queries.reference_BQK)
        return arguments

    def _queries(self, call: Mapping[str, Any], which: slice) -> Queries:
        position = call[self.position_argument][:, which] if self.position_argument else None
        reference = None
        if self.reference_argument is not None:
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
            scores=self.info.scores,
            initial=initial,
            bins=None if heads.bins is None else heads.bins.select(which),
        )

    def _denoising(self, heads: Heads, raw: Any, count: int) -> Denoising | None:
        if count == 0:
            return None
        noised = self._select(heads, slice(count))
        return Denoising(*noised.supervised(), *self.denoising_pairs(raw), bins=noised.bins)


def _count(queries_BQX: Tensor) -> int:
    return queries_BQX.shape[1]
