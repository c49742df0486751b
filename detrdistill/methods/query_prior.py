"""Query-prior assignment distillation: DETRDistill (arXiv 2211.10156), Eq. 10, and its release.

The teacher's queries run through the student's decoder as an extra group, and the ground truth is given to them by
the teacher's own assignment: a stable one from the first step on, where the student's still changes. The group
exists in training only.
"""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from detrdistill.losses.set_criterion import TERMS, SetCriterion
from detrdistill.matching import supervising_layers
from detrdistill.methods.bridge import QueryBridge
from detrdistill.methods.method import DetectorShape, GroupMode, Method, MethodInputs, QueryRequest
from detrdistill.outputs import DetectorOutput

AssignmentSource = Literal["student", "teacher_layer", "teacher_last"]


class QueryPrior(Method):
    """Supervise the student's predictions from the teacher's queries with the ground truth."""

    name = "query_prior"

    def __init__(
        self,
        teacher: DetectorShape,
        student: DetectorShape,
        criterion: SetCriterion,
        *,
        weight: float,
        assignment: AssignmentSource,
        group: GroupMode,
        reference: Literal["student", "teacher"],
    ):
        super().__init__()
        self.weight = weight
        self.assignment: AssignmentSource = assignment
        self.group: GroupMode = group
        self.term_weights = criterion.term_weights
        self.teacher_layer_of = supervising_layers(teacher.layers, student.layers)
        self.bridge = QueryBridge(teacher, student, own_reference=reference == "student")

    def weights(self) -> Mapping[str, float]:
        """As the base class."""
        return {f"{self.name}.{term}": self.weight * self.term_weights[term] for term in TERMS}

    def student_queries(self, teacher: DetectorOutput, teacher_predictions: DetectorOutput | None) -> QueryRequest:
        """The teacher's own queries in the student's form."""
        del teacher_predictions
        return QueryRequest(self.group, (self.bridge(teacher.queries, teacher),))

    def forward(self, inputs: MethodInputs) -> dict[str, Tensor]:
        """Terms `classification`, `l1` and `giou` over all supervised predictions of the group.

        Eq. 10, where the teacher assigns.
        """
        (group,) = inputs.extra_predictions
        logits_LBQC, boxes_LBQ4 = group.supervised()
        extra = len(logits_LBQC) - len(self.teacher_layer_of)  # an initial prediction goes with the first layer
        match self.assignment:
            case "student":
                pairs = inputs.criterion.match(logits_LBQC, boxes_LBQ4, inputs.targets, group.scores)
            case "teacher_layer":
                layers = self.teacher_layer_of[:1] * extra + self.teacher_layer_of
                pairs = inputs.teacher_assignment.select_layers(layers)
            case "teacher_last":
                last = len(inputs.teacher.logits_LBQC) - 1
                pairs = inputs.teacher_assignment.select_layers([last] * len(logits_LBQC))
        losses = inputs.criterion.losses(logits_LBQC, boxes_LBQ4, pairs, inputs.targets)
        return {f"{self.name}.{term}": value for term, value in losses.items()}
