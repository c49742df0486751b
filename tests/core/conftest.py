"""A small checkpoint that many tests spoil."""

from pathlib import Path

import pytest

from detrdistill.detectors.detector import Detector
from detrdistill.export import export_folder
from tests.support.factories import tiny_detector


@pytest.fixture(scope="session")
def exported() -> Detector:
    """What is in `whole`."""
    return tiny_detector("rt-detr-v2", classes=2)


@pytest.fixture(scope="session")
def whole(exported: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound checkpoint of two classes."""
    folder = tmp_path_factory.mktemp("whole")
    export_folder(exported, folder, (1, 2))
    return folder
