"""Classes of a data set found among those of a teacher."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detrdistill.class_names import match_classes
from detrdistill.errors import CheckpointError

names = st.lists(
    st.text("abcdß ", min_size=1, max_size=4), min_size=1, max_size=8, unique_by=lambda n: n.strip().casefold()
)


@given(names, st.data())
def test_every_class_is_found_under_its_name_whatever_order_case_and_margin(teacher: list[str], data: st.DataObject):
    chosen = data.draw(st.permutations(teacher)).copy()[: data.draw(st.integers(0, len(teacher)))]
    written = [data.draw(st.sampled_from([name, name.upper(), f" {name}\t"])) for name in chosen]
    assert [teacher[index] for index in match_classes(teacher, written, given={}).columns] == chosen


@given(names, st.data())
def test_a_class_the_teacher_lacks_is_named(teacher: list[str], data: st.DataObject):
    strange = data.draw(st.text("xyz", min_size=1, max_size=4))
    dataset = data.draw(st.permutations([*teacher, strange]))
    with pytest.raises(CheckpointError, match=f"1 of the {len(dataset)} classes of the data set: {strange}"):
        match_classes(teacher, dataset, given={})
