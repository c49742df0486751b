from pathlib import Path

import pytest
import torch

from detrdistill.catalog import size_of
from detrdistill.detectors.build import build_detector
from detrdistill.detectors.weights import load_detector
from detrdistill.export import export_folder
from tests.benchmarks.students import STUDENTS, backbone, build_student

SIDE = 192


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    export_folder(build_detector("deimv2", size_of("deimv2", "atto"), ["a"], SIDE, seed=3), folder, (1,))
    return folder


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_has_the_backbone_of_the_checkpoint(name: str, checkpoint: Path, tmp_path: Path):
    export_folder(build_student(name, checkpoint, SIDE), tmp_path, (1,))
    student, _ = load_detector(tmp_path, SIDE)
    weights, trained = backbone(student).state_dict(), backbone(load_detector(checkpoint, SIDE)[0]).state_dict()
    assert any(key.endswith("convolution.weight") for key in weights)
    for key, tensor in weights.items():
        if not key.endswith("num_batches_tracked"):  # frozen batch norms have none
            torch.testing.assert_close(tensor, trained[key])
    with torch.no_grad():
        assert student(torch.rand(1, 3, SIDE, SIDE)).boxes_LBQ4.isfinite().all()
