"""Classes of a dataset found among those of a teacher."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detrdistill.compatibility.class_names import match_classes
from detrdistill.errors import CheckpointError, ClassNamesDiffer, ConfigError

names = st.lists(
    st.text("abcdß ", min_size=1, max_size=4), min_size=1, max_size=8, unique_by=lambda n: n.strip().casefold()
)
COCO = ("person", "motorcycle", "airplane", "couch", "potted plant", "dining table", "tv")
VOC = ("person", "motorbike", "aeroplane", "sofa", "pottedplant", "diningtable", "tvmonitor")


@given(names, st.data())
def test_every_class_is_found_under_its_name_whatever_order_case_and_margin(teacher: list[str], data: st.DataObject):
    chosen = data.draw(st.permutations(teacher)).copy()[: data.draw(st.integers(0, len(teacher)))]
    written = [data.draw(st.sampled_from([name, name.upper(), f" {name}\t"])) for name in chosen]
    assert [teacher[index] for index in match_classes(teacher, written, given={}).columns] == chosen


@given(names, st.data())
def test_a_class_the_teacher_lacks_is_named(teacher: list[str], data: st.DataObject):
    strange = data.draw(st.text("xyz", min_size=1, max_size=4))
    dataset = data.draw(st.permutations([*teacher, strange]))
    with pytest.raises(CheckpointError, match=f"1 of the {len(dataset)} classes of the dataset: {strange}"):
        match_classes(teacher, dataset, given={})


def refused(teacher: tuple[str, ...], dataset: tuple[str, ...], **given: str) -> ClassNamesDiffer:
    with pytest.raises(ClassNamesDiffer) as caught:
        match_classes(teacher, dataset, given=given, path_pointer="/teachers/teacher")
    assert (caught.value.code, caught.value.path_pointer) == ("class_names_differ", "/teachers/teacher")
    return caught.value


def test_names_of_voc_are_suggested_for_those_of_coco_and_then_taken():
    """RT-DETR's published weights call six classes of COCO by their names in VOC."""
    error = refused(VOC, COCO)
    assert "does not know 4 of the 7 classes of the dataset: motorcycle, airplane, couch, tv." in error.message
    suggested = {"motorbike": "motorcycle", "aeroplane": "airplane", "sofa": "couch", "tvmonitor": "tv"}
    for theirs, ours in suggested.items():
        assert f'"{theirs}": "{ours}"' in error.hint
    assert "If these are the same, say so with" in error.hint
    match = match_classes(VOC, COCO, given=suggested)
    assert match.columns == tuple(range(7))
    assert dict(match.renamed) == suggested | {"pottedplant": "potted plant", "diningtable": "dining table"}
    assert "'sofa' as 'couch'" in match.said()
    assert match_classes(COCO, COCO, given={}).said() == ""


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        *(("Man-made Person", None), ("Human", "person"), ("Mobile phone", "cell phone"), ("Television", "tv")),
        *(("Kitchen & dining room table", "dining table"), ("Studio couch", "couch"), ("Houseplant", "potted plant")),
        *(("Doughnut", "donut"), ("Hair Dryer", "hair drier"), ("Computer mouse", "mouse"), ("Hotdog", None)),
        *(("Dinning Table", "dining table"), ("Moniter/TV", "tv"), ("Bowl/Basin", "bowl"), ("Wild Bird", "bird")),
        *(("Orange/Tangerine", "orange"), ("Handbag/Satchel", "handbag"), ("Luggage", "suitcase")),
        *(("train_(railroad_vehicle)", "train"), ("orange_(fruit)", "orange"), ("mouse_(computer_equipment)", "mouse")),
        *(("television_set", "tv"), ("cellular_telephone", "cell phone"), ("fireplug", "fire hydrant")),
        *(("cars", "car"), ("buses", "bus"), ("Berries", "berry"), ("knives", "knife"), ("shelf", "shelves")),
        *(("pedestrian", "person"), ("lorry", "truck"), ("bike", "bicycle"), ("cat", None), ("(a)", None)),
    ],
)
def test_what_is_known_of_open_images_objects365_and_lvis_is_suggested(theirs: str, ours: str | None):
    dataset = (ours or "zzz", "other")
    error = refused((theirs, "other"), dataset)
    assert (f'"class_map": {{"{theirs}": "{ours}"}}' in error.hint) == (ours is not None)
    if ours is None:
        assert "train job" in error.hint


def test_a_name_that_two_outputs_could_mean_is_not_suggested():
    assert 'class_map": {' not in refused(("monitor", "television"), ("tv",)).hint
    assert "nothing is known for zebra" in refused(("sofa", "x"), ("couch", "zebra")).hint


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Traffic Light", "traffic_light"),
        ("T-Shirt", "tshirt "),
        ("\u00a0stop sign", "Stop-Sign"),
        ("caf\u00e9", "cafe\u0301"),
        ("\uff23\uff21\uff32", "car"),
        ("STRASSE", "straße"),
        ("-", "-"),
    ],
)
def test_spelling_is_no_difference(theirs: str, ours: str):
    assert match_classes([theirs, "other"], [ours], given={}).columns == (0,)


def test_unicode_forms_are_one_class_and_two_words_are_two():
    german = ("Füße", "Fusse")
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        written = tuple(unicodedata.normalize(form, name) for name in german)
        assert match_classes(german, written, given={}).columns == (0, 1)


def test_names_that_differ_in_spelling_alone_stay_apart_where_both_have_them():
    assert match_classes(["hot dog", "hotdog"], ["hotdog", "hot dog"], given={}).columns == (1, 0)


def test_two_outputs_of_one_name_are_refused_where_it_is_needed():
    coco_91 = ("N/A", "person", "N/A", "cat")
    assert match_classes(coco_91, ["cat", "person"], given={}).columns == (3, 1)
    error = refused(coco_91, ("person", "N/A"))
    assert "2 outputs called 'N/A': 0, 2" in error.message
    assert "id2label" in error.hint


@pytest.mark.parametrize("placeholder", ["LABEL_{}", "label{}", "class_{}", "{}"])
def test_placeholders_are_never_taken_in_order_without_a_word(placeholder: str):
    teacher = tuple(placeholder.format(index) for index in range(3))
    error = refused(teacher, ("red", "green", "blue"))
    assert "does not know 3 of the 3 classes" in error.message
    assert f"Its names say nothing: {', '.join(teacher)}" in error.message
    suggested = dict(zip(teacher, ("red", "green", "blue"), strict=True))
    assert all(f'"{theirs}": "{ours}"' in error.hint for theirs, ours in suggested.items())
    assert "in the order of the dataset" in error.hint
    assert match_classes(teacher, ("red", "green", "blue"), given=suggested).columns == (0, 1, 2)
    more = refused(teacher, ("red", "green"))
    assert "class_map" not in more.hint
    assert "id2label" in more.hint


def test_placeholders_that_the_data_set_has_too_are_names():
    assert match_classes(["LABEL_0", "LABEL_1"], ["LABEL_1", "LABEL_0"], given={}).columns == (1, 0)


def test_a_class_without_boxes_vetoes_no_teacher():
    match = match_classes(["red"], ["shapes", "red"], given={}, without_boxes={"shapes"})
    assert match.columns == (None, 0)
    assert "1 of the 2 classes of the dataset: shapes" in refused(("red",), ("shapes", "red")).message


@pytest.mark.parametrize(
    ("given", "place", "words"),
    [
        ({"sofas": "couch"}, "sofas", "'sofas', which is no class of the teacher"),
        ({"sofa": "coach"}, "sofa", "'coach', which is no class of the dataset"),
        ({"sofa": "couch", "sofa bed": "couch"}, "sofa bed", "two classes of the teacher for 'couch'"),
        ({"sofa": "couch", "SOFA ": "cat"}, "SOFA ", "the class 'SOFA ' of the teacher twice"),
        ({"N/A": "cat"}, "N~1A", "'N/A', of which the teacher has 2"),
    ],
)
def test_a_map_that_fits_nothing_is_refused_at_its_entry(given: dict[str, str], place: str, words: str):
    with pytest.raises(ConfigError) as caught:
        match_classes(
            ["sofa", "sofa bed", "N/A", "N/A"], ["couch", "cat"], given=given, pointer="/teachers/teacher/class_map"
        )
    assert words in caught.value.message
    assert caught.value.pointer == f"/teachers/teacher/class_map/{place}"
    assert "Classes of" in caught.value.hint or "once" in caught.value.hint


def test_a_map_gives_the_same_name_another_meaning():
    match = match_classes(["red", "green"], ["red", "green"], given={"red": "green", "green": "red"})
    assert match.columns == (1, 0)


def test_a_suggestion_stays_readable_whatever_the_number_of_classes():
    teacher = tuple(f"LABEL_{index}" for index in range(5000))
    hint = refused(teacher, tuple(f"thing {index}" for index in range(5000))).hint
    assert len(hint) < 20_000
    assert "5000 in all" in hint


@pytest.mark.parametrize("mapped", [False, True])
def test_the_largest_vocabularies_are_compared_within_seconds(mapped: bool):
    teacher = [f"Thing {index} (kind {index % 7})" for index in range(20_000)]
    dataset = [f"strange_{index}s" for index in range(5_000)]
    begun = time.perf_counter()
    if mapped:
        map_of_all = {f"thing_{index}_(kind_{index % 7})": f"Strange {index}s" for index in range(5_000)}
        assert match_classes(teacher, dataset, given=map_of_all).columns == tuple(range(5_000))
    else:
        refused(tuple(teacher), tuple(dataset))
    assert time.perf_counter() - begun < 5
