"""Train one detector from its first step, or from its last checkpoint, to its end."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from detrdistill.data.dataset import Batch, DetectionDataset, EpochSampler, training_batches
from detrdistill.detectors.batch_norms import freeze_batch_norms
from detrdistill.detectors.detector import Detector
from detrdistill.engine.evaluate import Evaluation
from detrdistill.engine.finite import NonFinite, check_finite, non_finite_tensors
from detrdistill.engine.gradient_share import backward
from detrdistill.engine.optimizer import StudentWithEma, build_optimizer, build_schedule
from detrdistill.engine.state import load_newest_state, save_state
from detrdistill.engine.step import LossStep, StepLosses
from detrdistill.engine.supervision import ScheduledMethod, StepPosition
from detrdistill.errors import ConfigError, Diverged, Stopped
from detrdistill.events import CheckpointSaved, Evaluated, Event, Role, StepLogged
from detrdistill.schema.run import TrainingConfig

Report = Callable[[Event], None]
_LOGS_PER_RUN = 400
_CHECKPOINT_SECONDS = 300.0
TRAIN_MORE_GENTLY = "Lower training.lr, or train with precision fp32."
"""What to do about a detector that diverges."""


@dataclass
class Progress:
    """Training steps of the whole run, and the time they take.

    Attributes:
        steps: of each detector.
        roles: the detectors that the run trains.
        side_by_side: they are trained at the same time.
    """

    steps: int
    roles: Sequence[Role]
    side_by_side: bool = False
    _done: dict[Role, int] = field(default_factory=dict)
    _skipped: dict[Role, int] = field(default_factory=dict)
    _start: float = field(default_factory=time.monotonic)

    def reach(self, role: Role, step: int) -> None:
        """Take note of the steps that a detector has done; those before the first call are another attempt's."""
        self._skipped.setdefault(role, step)
        self._done[role] = step

    @property
    def fraction(self) -> float:
        """Share of the steps done, in [0, 1]."""
        return sum(self._done.values()) / (self.steps * len(self.roles))

    @property
    def eta_seconds(self) -> float:
        """Remaining steps at the pace of this attempt so far, evaluations included."""
        elapsed = time.monotonic() - self._start
        done = {role: self._done.get(role, 0) - self._skipped.get(role, 0) for role in self.roles}
        left = {role: self.steps - self._done.get(role, 0) for role in self.roles}
        if not self.side_by_side:
            return elapsed / max(sum(done.values()), 1) * sum(left.values())
        fastest = max(*done.values(), 1)
        return max(elapsed / (done[role] or fastest) * left[role] for role in self.roles)


@dataclass(frozen=True)
class Best:
    """The evaluated weights with the highest AP so far."""

    ap: float = -1.0
    epoch: float = 0.0


@dataclass
class Trainer:
    """Everything that trains one detector.

    Attributes:
        role: whose curve this is.
        trained: the student or the control.
        loss: of a batch; the methods of its teachers are trained beside the detector.
        evaluate: a detector on the validation split.
        export: called with the evaluated weights whenever it is the best so far.
        alive: called after every step and every checkpoint.
        state_folder: checkpoints of this detector.
        fingerprint: of the configuration; a checkpoint of another one is refused.
    """

    role: Literal["student", "control"]
    trained: StudentWithEma
    loss: LossStep
    dataset: DetectionDataset
    training: TrainingConfig
    every_epochs: int
    workers: int
    evaluate: Callable[[Detector], Evaluation]
    export: Callable[[Detector], None]
    report: Report
    should_stop: Callable[[], bool]
    alive: Callable[[], None]
    progress: Progress
    work: Path
    fingerprint: str

    def __post_init__(self) -> None:
        self.sampler = EpochSampler(len(self.dataset), self.training.batch_size, self.training.seed)
        self.total_steps = self.training.epochs * self.sampler.steps_per_epoch
        self.methods: list[ScheduledMethod] = [
            scheduled for supervision in self.loss.supervisions for scheduled in supervision.methods
        ]
        self.method_modules = nn.ModuleList(scheduled.method for scheduled in self.methods)
        self.detector, self.ema = self.trained.detector, self.trained.ema
        self.weights = [weight for weight in self.detector.parameters() if weight.requires_grad]
        self.optimizer = build_optimizer(self.detector, self.method_modules, self.training)
        self.schedule = build_schedule(self.optimizer, self.training, self.total_steps)
        self.step = 0
        self.meter = Meter()
        self.best = Best()
        self.state_folder = self.work / "state" / self.role

    @property
    def epoch(self) -> float:
        """Passes over the training data done."""
        return self.step / self.sampler.steps_per_epoch

    def run(self) -> Best:
        """Train to the end.

        Returns:
            The best evaluation; its weights have been exported.

        Raises:
            Stopped: the caller asked for it; a checkpoint is on disk.
            Diverged: a loss, gradient, weight or detection is not finite; weights exported before stay.
        """
        torch.manual_seed(self.training.seed)
        self._resume()
        self.progress.reach(self.role, self.step)
        log_every = max(1, self.total_steps // _LOGS_PER_RUN)
        saved_at = time.monotonic()
        for batch in self._batches():
            losses, norm = self._optimise(batch)
            self.meter.add(losses.terms, losses.total.detach(), norm, images=len(batch.targets))
            self.step += 1
            self.progress.reach(self.role, self.step)
            self.alive()
            if self.step % log_every == 0 or self.step == self.total_steps:
                self._log(losses.weights)
            end_of_epoch = self.step % self.sampler.steps_per_epoch == 0
            if end_of_epoch and (round(self.epoch) % self.every_epochs == 0 or self.step == self.total_steps):
                self._evaluate()
                self._save()
                saved_at = time.monotonic()
            elif time.monotonic() - saved_at > _CHECKPOINT_SECONDS:
                self._save()
                saved_at = time.monotonic()
            if self.should_stop() and self.step < self.total_steps:
                self._save()
                raise Stopped(f"Stopped at step {self.step} of {self.total_steps}.", hint="Start it again to resume.")
        return self.best

    def _batches(self) -> Iterator[Batch]:
        return training_batches(
            self.dataset, self.sampler, first_step=self.step, last_step=self.total_steps, workers=self.workers
        )

    def _optimise(self, batch: Batch) -> tuple[StepLosses, Tensor]:
        """One optimiser step: losses and gradient norm."""
        self.detector.train()
        self.method_modules.train()
        if self.training.freeze_batch_norm:
            freeze_batch_norms(self.detector)
        losses = self.loss(batch, StepPosition(self.step, self.total_steps))
        self.optimizer.zero_grad(set_to_none=True)
        shares = backward(losses.total, list(losses.measured.values()), self.weights)
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.training.clip_norm)
        if not torch.isfinite(norm):
            raise Diverged(f"The {self.role} diverged: its gradient is not finite.", hint=TRAIN_MORE_GENTLY)
        for scheduled, share in zip(losses.measured, shares, strict=True):
            scheduled.adapt(share)
        self.optimizer.step()
        self.schedule.step()
        if self.ema is not None:
            self.ema.update_parameters(self.detector)
        return losses, norm

    def _log(self, weights: dict[str, float]) -> None:
        means, images_per_second = self.meter.flush()
        self.report(
            StepLogged(
                role=self.role,
                step=self.step,
                total_steps=self.total_steps,
                epoch=self.epoch,
                lr=max(float(lr) for lr in self.schedule.get_last_lr()),
                grad_norm=means.pop("grad_norm"),
                losses=means,
                weights=weights,
                images_per_second=images_per_second,
                progress=self.progress.fraction,
                eta_seconds=self.progress.eta_seconds,
            )
        )

    def _evaluate(self) -> None:
        detector = self.trained.eval_model
        detector.eval()
        metrics, detections = self.evaluate(detector)
        self.report(Evaluated(role=self.role, step=self.step, epoch=self.epoch, metrics=metrics))
        self._check_finite(detections)
        if metrics.ap > self.best.ap:
            self.best = Best(metrics.ap, self.epoch)
            self.export(detector)

    def _check_finite(self, detections: NonFinite | None) -> None:
        """Refuse to go on, and to choose these weights, where they or their detections are not finite."""
        kept = f" The weights of epoch {self.best.epoch:g} (AP {self.best.ap:.4f}) stay in the folder {self.role}."
        hint = TRAIN_MORE_GENTLY + (kept if self.best.ap >= 0 else "")
        tensors = non_finite_tensors(self.detector)
        whose = f"The {self.role}"
        if self.ema is not None and not tensors:
            tensors = non_finite_tensors(self.ema.module)
            if tensors:
                whose = f"The moving average of the {self.role}'s weights"
                hint += " Its plain weights are finite: training.ema_decay null trains without an average."
        check_finite(whose, detections=detections, tensors=tensors, hint=hint)

    def _save(self) -> None:
        state: dict[str, Any] = {
            "fingerprint": self.fingerprint,
            "step": self.step,
            "best": [self.best.ap, self.best.epoch],
            "meter": self.meter.state_dict(),
            "detector": self.detector.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "methods": self.method_modules.state_dict(),
            "adapted": [scheduled.adapted for scheduled in self.methods],
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        saved = save_state(self.state_folder, self.step, state)
        file = str(saved.path.relative_to(self.work))
        self.alive()
        self.report(CheckpointSaved(role=self.role, step=self.step, file=file, sha256=saved.sha256))

    def _resume(self) -> None:
        state = load_newest_state(self.state_folder)
        if state is None:
            return
        if state["fingerprint"] != self.fingerprint:
            raise ConfigError(
                "The work directory holds checkpoints of another configuration.",
                hint="Use an empty directory, or retry the job from the start; a run is resumed with exactly the "
                "configuration it began with.",
            )
        self.step = state["step"]
        self.best = Best(*state["best"])
        self.meter.load_state_dict(state.get("meter", {}))
        self.detector.load_state_dict(state["detector"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.method_modules.load_state_dict(state["methods"])
        for scheduled, adapted in zip(self.methods, state["adapted"], strict=True):
            scheduled.adapted = adapted
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_rng"])


class Meter:
    """Means of the loss terms since the last log, kept on the device until asked for."""

    def __init__(self) -> None:
        self._restart()

    def add(self, terms: dict[str, Tensor], total: Tensor, norm: Tensor, *, images: int) -> None:
        """Count one step."""
        for name, value in (terms | {"total": total, "grad_norm": norm}).items():
            self._sums[name] = self._sums[name].to(value.device) + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._images += images

    def state_dict(self) -> dict[str, tuple[Tensor, int]]:
        """Sum and count of each term since the last log, so that a resumed run logs the same means."""
        return {name: (value.detach().cpu(), self._counts[name]) for name, value in self._sums.items()}

    def load_state_dict(self, state: dict[str, tuple[Tensor, int]]) -> None:
        """Go on from `state_dict`."""
        self._sums = {name: value for name, (value, _) in state.items()}
        self._counts = {name: count for name, (_, count) in state.items()}

    def flush(self) -> tuple[dict[str, float], float]:
        """Means over the steps that had the term, and images per second; start over."""
        means = {name: float(value) / self._counts[name] for name, value in self._sums.items()}
        images_per_second = self._images / max(time.monotonic() - self._start, 1e-9)
        self._restart()
        return means, images_per_second

    def _restart(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._images = 0
        self._start = time.monotonic()
