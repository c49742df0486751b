"""What the stages of one run share: data, device, evaluator, and how each stage is carried out."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch

from detrdistill.catalog import check_queries, check_side
from detrdistill.compatibility.checks import check_criterion, check_pair, check_start, refuse_class_map
from detrdistill.compatibility.class_names import ClassMatch, match_classes
from detrdistill.data.dataset import (
    DetectionDataset,
    EpochSampler,
    InputSpec,
    evaluation_batches,
    loader_workers,
    training_batches,
    transform_of,
)
from detrdistill.data.detections import RecordedDetections
from detrdistill.data.transforms import augmentation
from detrdistill.detectors.build import build_detector, make_trainable
from detrdistill.detectors.detector import Detector
from detrdistill.detectors.weights import Coverage, load_detector, with_classes
from detrdistill.engine.black_box import BlackBoxTeacher, OnnxTeacher, RecordedTeacher
from detrdistill.engine.components import build_criterion, build_methods, parameter_count, shape_of
from detrdistill.engine.environment import autocast_type, device_name, versions
from detrdistill.engine.evaluate import CocoEvaluator, Detect, Evaluation, milliseconds_per_image
from detrdistill.engine.finite import check_finite, non_finite_tensors
from detrdistill.engine.optimizer import StudentWithEma, moving_average
from detrdistill.engine.state import replace_folder, restore_folder, write_json
from detrdistill.engine.step import LossStep
from detrdistill.engine.supervision import ScheduledMethod, StepPosition, TeacherSupervision
from detrdistill.engine.teacher import BROKEN_TEACHER, AnyTeacher, Teacher, check_teacher
from detrdistill.engine.threads import Threads
from detrdistill.engine.train import Best, Progress, Report, Trainer
from detrdistill.engine.verdict import TrainingFacts, verdict_of
from detrdistill.engine.verify import evaluate_folder
from detrdistill.errors import ConfigError, Stopped
from detrdistill.events import Evaluated, ModelReport, Role, RunResult, WeightsLoaded
from detrdistill.export import ModelCard, export_folder
from detrdistill.files.black_boxes import Kind, inspect_black_box, kind_of, read_detections
from detrdistill.files.checkpoints import check_coverage, inspect_checkpoint
from detrdistill.files.coco import find_root, read_splits
from detrdistill.files.preprocessing import Preprocessing
from detrdistill.schema.paths import RunPaths
from detrdistill.schema.run import DEFAULT_IMAGE_SIZE, DistillConfig, TeacherConfig, TrainConfig, teacher_title

Trained = Literal["student", "control"]
_log = logging.getLogger(__name__)


class RunContext:
    """One attempt at a run. Stages that an earlier attempt completed are not repeated."""

    def __init__(
        self,
        config: TrainConfig | DistillConfig,
        paths: RunPaths,
        report: Report,
        should_stop: Callable[[], bool],
        alive: Callable[[], None],
    ):
        self.config = config
        self.paths = paths
        self.report = report
        self.should_stop = should_stop
        self.alive = alive
        paths.check_names(config)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        sets = read_splits(find_root(paths.dataset), options=paths.dataset_options, on_progress=self.go_on)
        alive()
        paths.check_unchanged(sets)
        self.sets = sets
        self.train_set, self.val_set = sets["train"], sets["val"]
        self.evaluator = CocoEvaluator(self.val_set)
        self.workers = loader_workers(config.data.workers)
        options = paths.dataset_options.model_dump(exclude_defaults=True)
        content = [config.model_dump(), self.train_set.classes, len(self.train_set.images)]
        content += [options] * bool(options)
        self.fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        training = config.training
        steps = EpochSampler(len(self.train_set.images), training.batch_size, training.seed).steps_per_epoch
        self.steps = training.epochs * steps
        self.with_control = isinstance(config, DistillConfig) and config.control
        self.progress = Progress(self.steps, ("student", "control") if self.with_control else ("student",))
        self.threads = Threads(paths.work) if self.device.type == "cpu" else None

    # ---- detectors

    def new_student(self) -> StudentWithEma:
        """The student at its first step: new from the catalog, or from a checkpoint."""
        seed, classes = self.config.training.seed, self.train_set.classes
        size = self.config.data.image_size
        check_start(self.config)
        if (new := self.config.student) is not None:
            student = build_detector(new.family, new.resolve(), classes, size or DEFAULT_IMAGE_SIZE, seed)
        elif self.paths.student is not None:
            student, coverage = load_detector(self.paths.student, size or DEFAULT_IMAGE_SIZE)
            check_coverage(coverage.facts, allow_partial=self.config.allow_partial, path_pointer="/student")
            self._report_coverage("student", coverage)
            student = with_classes(student, classes, seed)
            check_finite(
                "The checkpoint that the student starts from",
                tensors=non_finite_tensors(student),
                hint="Start from another checkpoint; this one may have been saved after its training diverged.",
                path_pointer="/student",
            )
            if size is not None:
                check_side(student.family, size, student.side_multiple)
                student.preprocessing = replace(student.preprocessing, height=size, width=size)
            side = min(student.preprocessing.height, student.preprocessing.width)
            card = inspect_checkpoint(self.paths.student)
            check_queries(card.family, card.queries, side, two_stage=card.two_stage)
        else:
            raise ConfigError(
                "The run names no student.",
                hint="Give an architecture or a checkpoint.",
                pointer="/student",
            )
        check_criterion(self.config.criterion, student.family)
        make_trainable(student, backbone=self.config.training.backbone_lr_factor > 0)
        student, decay = student.to(self.device), self.config.training.ema_decay
        return StudentWithEma(student, None if decay is None else moving_average(student, decay))

    def ema_teacher(self, name: str, student: StudentWithEma) -> Teacher:
        """The moving average of the student, as its teacher."""
        if name in self.paths.teachers:
            raise ConfigError(
                "The moving average of the student teaches; there is no place for a checkpoint.",
                hint='Leave the checkpoint out, or set the source of this teacher to "checkpoint".',
                path_pointer=_of_teacher(name),
            )
        return Teacher(student.eval_model, tuple(range(len(self.train_set.classes))), is_average=True)

    def load_teacher(self, name: str) -> tuple[AnyTeacher, Coverage | None]:
        """A teacher, with its classes in the order of the dataset; a black box has no coverage."""
        folder, place = self.paths.teachers.get(name), _of_teacher(name)
        if folder is None:
            raise ConfigError("A distillation needs a teacher.", hint="Give a checkpoint folder.", path_pointer=place)
        if (kind := kind_of(folder)) is not None:
            return self._black_box(folder, kind, name), None
        size = self.config.data.image_size or DEFAULT_IMAGE_SIZE
        detector, coverage = load_detector(folder, fallback_size=size)
        check_coverage(coverage.facts, allow_partial=self.config.allow_partial, path_pointer=place)
        match = self._match(detector.classes, name)
        self._report_coverage("teacher", coverage, name, dict(match.renamed))
        return Teacher(detector.to(self.device), match.columns), coverage

    def _match(self, classes: tuple[str, ...], name: str) -> ClassMatch:
        """Where the classes of the dataset are among those of a teacher."""
        match = match_classes(
            classes,
            self.train_set.classes,
            given=self._teachers[name].class_map,
            without_boxes=self.classes_without_boxes,
            path_pointer=_of_teacher(name),
            pointer=f"{_of_teacher(name)}/class_map",
        )
        if match.renamed:
            _log.info("classes of the teacher %s: %s", name, match.said())
        return match

    @property
    def classes_without_boxes(self) -> frozenset[str]:
        """Classes of the dataset that neither split has a box of."""
        names = self.train_set.classes
        used = {names[label] for split in self.sets.values() for image in split.images for label in image.labels}
        return frozenset(names) - used

    def _black_box(self, folder: Path, kind: Kind, name: str) -> BlackBoxTeacher:
        card, classes = inspect_black_box(folder, kind), self.train_set.classes
        if kind == "detections":
            refuse_class_map(self._teachers[name], _of_teacher(name))
            return RecordedTeacher(card, RecordedDetections(read_detections(folder, self.sets)), len(classes))
        size = self.config.data.image_size or DEFAULT_IMAGE_SIZE
        return OnnxTeacher(folder, card, size, self._match(card.classes, name).columns)

    def build_supervision(self, name: str, teacher: AnyTeacher, student: StudentWithEma) -> TeacherSupervision:
        """A teacher with its configured methods, on the run's device.

        Raises:
            ConfigError: a method is not defined between these two detectors.
        """
        config = self._teachers[name]
        check_pair(config, teacher.identity, student.detector.family, _of_teacher(name))
        methods = build_methods(
            config.methods,
            teacher.shape,
            shape_of(student.detector),
            build_criterion(self.config.criterion, student.detector),
            self.config.training.seed,
        )
        scheduled = [
            ScheduledMethod(method.to(self.device), chosen.schedule, chosen.gradient_share)
            for method, chosen in zip(methods, config.methods, strict=True)
        ]
        return TeacherSupervision(teacher, scheduled, name, several=len(self._teachers) > 1)

    @property
    def _teachers(self) -> dict[str, TeacherConfig]:
        assert isinstance(self.config, DistillConfig), "only a distillation has teachers"
        return self.config.teachers

    def _report_coverage(
        self,
        role: Role,
        coverage: Coverage,
        teacher: str | None = None,
        renamed_classes: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.report(
            WeightsLoaded(
                role=role,
                teacher=teacher,
                loaded=coverage.loaded,
                total=coverage.total,
                missing=coverage.missing,
                unexpected=coverage.unexpected,
                renamed=coverage.renamed,
                class_map=dict(renamed_classes),
            )
        )

    # ---- stages

    def go_on(self) -> None:
        """Give a sign of progress before the first step, unless the run is to stop."""
        if self.should_stop():
            raise Stopped("Stopped before the first step.", hint="Start it again to resume.")
        self.alive()

    def pass_gate(self, name: str, teacher: AnyTeacher, coverage: Coverage | None) -> ModelReport:
        """Evaluate a teacher on the validation set; once per run, whatever the number of attempts."""
        cache = self.paths.work / "state" / f"teacher-{name}.json"
        if cache.is_file():
            row = ModelReport.model_validate_json(cache.read_bytes())
        else:
            metrics, detections = self._evaluate(teacher.detect, teacher.input_spec, self.go_on)
            self.report(Evaluated(role="teacher", teacher=name, step=0, epoch=0.0, metrics=metrics))
            check_finite(
                f"The {teacher_title(name)}",
                detections=detections,
                tensors=non_finite_tensors(teacher.detector) if detections and isinstance(teacher, Teacher) else None,
                hint=BROKEN_TEACHER,
                path_pointer=_of_teacher(name),
            )
            row = ModelReport(metrics=metrics, parameters=None, milliseconds_per_image=None, best_epoch=None)
            if isinstance(teacher, Teacher):
                row = row.model_copy(update=self._cost(teacher.detector))
            write_json(cache, row.model_dump())
        pointer = f"{_of_teacher(name)}/min_ap"
        unlike = teacher.input_spec.unlike_training if isinstance(teacher.input_spec, Preprocessing) else ""
        check_teacher(row.metrics, self._teachers[name].min_ap, coverage, pointer, unlike_training=unlike)
        return row

    def _cost(self, detector: Detector) -> dict[str, float]:
        size = detector.preprocessing
        pixels_BCHW = torch.zeros(1, 3, size.height, size.width, device=self.device)
        milliseconds = milliseconds_per_image(detector.model, pixels_BCHW)
        return {"parameters": parameter_count(detector), "milliseconds_per_image": milliseconds}

    def choose_threads(self, student: StudentWithEma, supervisions: Sequence[TeacherSupervision]) -> None:
        """On a CPU: find by measuring how many threads a step is worth, once per run."""
        if self.threads is None:
            return
        loss, dataset = self._loss_and_dataset("student", deepcopy(student.detector), supervisions)
        sampler = EpochSampler(len(dataset), self.config.training.batch_size, self.config.training.seed)
        batch = next(training_batches(dataset, sampler, first_step=0, last_step=1, workers=0))

        def step() -> None:
            with suppress(Exception), torch.random.fork_rng():  # the gate or the first step will say what is wrong
                loss(batch, StepPosition(0, self.progress.steps)).total.backward()
            self.go_on()

        self.threads.measure(step, steps_beside=self.progress.steps if self.with_control else 0)

    def _loss_and_dataset(
        self, role: Trained, student: Detector, supervisions: Sequence[TeacherSupervision]
    ) -> tuple[LossStep, DetectionDataset]:
        """The loss of a detector with its teachers, and the batches that show each what it looks at."""
        config = self.config
        wanted: list[InputSpec] = [
            student.preprocessing,
            *(supervision.teacher.input_spec for supervision in supervisions),
        ]
        transforms = [transform_of(spec) for spec in dict.fromkeys(wanted)]
        random_changes = augmentation(
            horizontal_flip=config.data.horizontal_flip,
            photometric=config.data.photometric,
            crop=config.data.crop,
        )
        criterion = build_criterion(config.criterion, student)
        autocast = autocast_type(config.training.precision, self.device)
        loss = LossStep(student, criterion, supervisions, transforms, autocast, self.device, role)
        return loss, DetectionDataset(self.train_set, transforms, random_changes)

    def train(self, role: Trained, trained: StudentWithEma, supervisions: Sequence[TeacherSupervision]) -> Best:
        """Train one detector; its best weights are then in the folder named after its role."""
        config = self.config
        loss, dataset = self._loss_and_dataset(role, trained.detector, supervisions)
        trainer = Trainer(
            role=role,
            trained=trained,
            loss=loss,
            dataset=dataset,
            training=config.training,
            every_epochs=config.evaluation.every_epochs,
            workers=self.workers,
            evaluate=self._evaluate_trained,
            export=partial(self._export, role),
            report=self.report,
            should_stop=self.should_stop,
            alive=self.alive,
            progress=self.progress,
            work=self.paths.work,
            fingerprint=self.fingerprint,
        )
        restore_folder(self.paths.work / role)
        return trainer.run()

    def verify(self, role: Trained, best: Best) -> ModelReport:
        """Measure the exported folder, loaded anew."""
        folder = self.paths.work / role
        batch_size = self.config.evaluation.batch_size
        metrics, milliseconds = evaluate_folder(folder, self.evaluator, self.device, batch_size, self.alive)
        self.alive()
        detector, _ = load_detector(folder, DEFAULT_IMAGE_SIZE)
        return ModelReport(
            metrics=metrics,
            parameters=parameter_count(detector),
            milliseconds_per_image=milliseconds,
            best_epoch=best.epoch,
        )

    def finish(self, rows: Mapping[Trained, ModelReport], teachers: Mapping[str, ModelReport]) -> RunResult:
        """Put the rows together and write the model card; teachers are by name."""
        student, control = rows["student"], rows.get("control")
        result = RunResult(
            student=student,
            teachers=dict(teachers),
            control=control,
            kd_gain=None if control is None else student.metrics.ap - control.metrics.ap,
            verdict=verdict_of(
                student.metrics,
                control and control.metrics,
                TrainingFacts.of(self.config, self.steps, self.train_set),
            ),
            device=device_name(self.device),
            versions=versions(),
        )
        detector, _ = load_detector(self.paths.work / "student", DEFAULT_IMAGE_SIZE)
        ModelCard(
            family=detector.info,
            classes=detector.classes,
            report=student,
            teachers=teachers,
            control=control,
            validation_images=len(self.val_set.images),
            verdict=result.verdict,
            config=self.config.model_dump(mode="json"),
            versions=result.versions,
        ).write(self.paths.work / "student")
        write_json(self.paths.work / "result.json", result.model_dump())
        return result

    # ---- parts of the stages

    def _evaluate_trained(self, detector: Detector) -> Evaluation:
        """As `_evaluate`; the AP of weights that are not finite is 0, whatever they detect."""
        found = self._evaluate(lambda pixels: detector.detections(detector(pixels)), detector.preprocessing)
        return found._replace(metrics=self.evaluator.nothing_found()) if non_finite_tensors(detector) else found

    def _evaluate(self, detect: Detect, spec: InputSpec, alive: Callable[[], None] | None = None) -> Evaluation:
        transform = transform_of(spec)
        dataset = DetectionDataset(self.val_set, [transform], augment=None)
        batches = evaluation_batches(dataset, batch_size=self.config.evaluation.batch_size, workers=self.workers)
        return self.evaluator.run(detect, transform, batches, self.device, alive or self.alive)

    def _export(self, role: Trained, detector: Detector) -> None:
        category_ids = self.train_set.category_ids
        self.alive()
        replace_folder(self.paths.work / role, lambda folder: export_folder(detector, folder, category_ids))
        self.alive()


def _of_teacher(name: str) -> str:
    """Where a teacher is declared, in the configuration as in the paths."""
    return f"/teachers/{name}"
