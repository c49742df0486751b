from dataclasses import replace
from typing import get_args

import pytest
from pydantic import ValidationError

from detrdistill.catalog import CATALOG, FamilyName, check_queries, check_side, size_of
from detrdistill.errors import ConfigError
from detrdistill.schema.run import RUN_CONFIG, ArchitectureConfig


def test_more_queries_than_cells_are_refused():
    """At 192 px strides 8, 16 and 32 have 576 + 144 + 36 cells; D-FINE-N has the last two only."""
    check_queries("d-fine", 300, 192, levels=size_of("d-fine", "s").levels)
    with pytest.raises(ConfigError, match="among the 180 cells"):
        check_queries("d-fine", 300, 192, levels=size_of("d-fine", "n").levels)


def test_an_input_that_windows_do_not_divide_is_refused():
    """LW-DETR cuts its input into 4 x 4 windows of patches of 16 px."""
    multiple = size_of("lw-detr", "tiny").side_multiple
    assert multiple == 64
    check_side("lw-detr", 640, multiple)
    with pytest.raises(ConfigError, match=r"608 is not divisible by 64 \(patch size x windows\)\.") as caught:
        check_side("lw-detr", 608, multiple)
    assert caught.value.hint == "Set data.image_size to a multiple of 64, such as 576 or 640."
    student = {"family": "lw-detr", "size": "tiny"}
    with pytest.raises(ValidationError, match=r"image_size 608 is not divisible by 64 \(patch size x windows\)\."):
        RUN_CONFIG.validate_python({"kind": "train", "student": student, "data": {"image_size": 608}})


@pytest.mark.parametrize(
    ("family", "reason"), [("rt-detr", r" \(the largest stride\)"), ("deformable-detr", ""), ("yolos", "")]
)
def test_an_input_that_strides_do_not_divide_is_refused(family: FamilyName, reason: str):
    """The multiple of Deformable DETR and YOLOS, 32 px, is not their largest stride."""
    with pytest.raises(ConfigError, match=rf"^image_size 100 is not divisible by 32{reason}\.") as caught:
        check_side(family, 100, 32)
    assert caught.value.hint == "Set data.image_size to a multiple of 32, such as 96 or 128."


def test_an_architecture_is_a_size_with_overrides():
    size = size_of("detr", "nano")
    assert ArchitectureConfig(family="detr", size="nano").resolve() == size
    architecture = ArchitectureConfig(family="detr", size="nano", queries=7, decoder_layers=2)
    assert architecture.resolve() == replace(size, queries=7, decoder_layers=2)
    with pytest.raises(ValidationError, match="detr has no size 'huge'"):
        ArchitectureConfig(family="detr", size="huge")


def test_every_name_of_a_family_has_an_entry():
    assert set(CATALOG) == set(get_args(FamilyName))
