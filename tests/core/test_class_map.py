"""Classes of a data set found among those of a teacher."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detrdistill.checkpoints import class_map
from detrdistill.errors import CheckpointError

names = st.lists(
    st.text("abcdß ", min_size=1, max_size=4), min_size=1, max_size=8, unique_by=lambda n: n.strip().casefold()
)


@given(names, st.data())
def test_every_class_is_found_under_its_name_whatever_order_case_and_margin(teacher: list[str], data: st.DataObject):
    chosen = data.draw(st.permutations(teacher)).copy()[: data.draw(st.integers(0, len(teacher)))]
    written = [data.draw(st.sampled_from([name, name.upper(), f" {name}\t"])) for name in chosen]
    assert [teacher[index] for index in class_map(tuple(teacher), tuple(written))] == chosen


@given(names, st.data())
def test_a_class_the_teacher_lacks_is_named(teacher: list[str], data: st.DataObject):
    strange = data.draw(st.text("xyz", min_size=1, max_size=4))
    dataset = data.draw(st.permutations([*teacher, strange]))
    with pytest.raises(CheckpointError, match=f"1 of the {len(dataset)} classes of the data set: {strange}"):
        class_map(tuple(teacher), tuple(dataset))


@given(st.lists(st.text("abc", min_size=1), min_size=1, max_size=8))
def test_placeholders_are_taken_in_order_where_the_counts_agree(dataset: list[str]):
    placeholders = tuple(f"LABEL_{index}" for index in range(len(dataset)))
    assert class_map(placeholders, tuple(dataset)) == tuple(range(len(dataset)))
    with pytest.raises(CheckpointError):
        class_map((*placeholders, f"LABEL_{len(dataset)}"), tuple(dataset))
