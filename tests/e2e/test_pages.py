"""What the pages make of answers of every kind."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from detrdistill.events import CURVES
from detrdistill.schema.method_table import METHODS
from tests.e2e import answers
from tests.e2e.answers import checkpoint, dataset, id_of, job, problem, result, serve, serve_list

pytestmark = pytest.mark.browser

TERMS = [f"big.{kind}.{term}" for kind, method in METHODS.items() for term in method.terms]


@pytest.fixture
def new_job(quiet_page: Page) -> Page:
    """The form with a dataset and a teacher chosen, and a name."""
    serve_list(quiet_page, "/datasets", [dataset(1), dataset(2, name="wrong", state="refused", error=REFUSED)])
    partial = {**answers.COVERED, "loaded": 312}
    serve_list(
        quiet_page, "/checkpoints", [checkpoint(3), checkpoint(4, state="checking", kind=None, coverage=partial)]
    )
    quiet_page.goto("/view/new")
    quiet_page.get_by_label("Dataset", exact=True).select_option("dataset 1 (12 images, 2 classes)")
    quiet_page.get_by_label("Teacher", exact=True).select_option(label="teacher 3 (rt-detr-v2, 20 M)")
    quiet_page.get_by_label("Name").fill("made up")
    return quiet_page


REFUSED = {
    "code": "dataset_invalid",
    "message": "train/7.jpg is truncated.",
    "hint": "Replace it.",
    "pointer": "/files",
}


def submitted(page: Page, response: Any = None, status: int = 202) -> Any:
    """The request that the form sends; the response is as given, or a job."""
    sent = serve(page, "/jobs", response or job(), status, "POST")
    with page.expect_response(lambda received: received.request.method == "POST"):
        page.get_by_role("button", name="Start job").click()
    assert len(sent) == 1
    return sent[0]


def test_a_blank_number_is_left_out_of_the_request(new_job: Page):
    for label in ("Lowest teacher AP", "Epochs", "Batch size", "Learning rate", "Image size", "Seed"):
        new_job.get_by_label(label).fill("")
    config = submitted(new_job)["config"]
    assert list(config["teachers"]["teacher"]) == ["methods"]
    assert config["training"] == {}
    assert "image_size" not in config["data"]


def test_the_gate_is_off_only_where_somebody_typed_zero(new_job: Page):
    new_job.get_by_label("Lowest teacher AP").fill("0")
    assert submitted(new_job)["config"]["teachers"]["teacher"]["min_ap"] == 0


def test_json_edits_survive_the_way_back_to_the_form(new_job: Page):
    new_job.get_by_role("button", name="Edit as JSON").click()
    text = new_job.get_by_label("configuration as JSON")
    config = json.loads(text.input_value())
    config["training"] |= {"epochs": 77, "warmup_steps": 3}
    config["teachers"]["teacher"]["methods"][0]["split"] = True
    text.fill(json.dumps(config | {"training": config["training"] | {"epochs": "many"}}))
    new_job.get_by_role("button", name="Back to the form").click()
    expect(new_job.get_by_role("alert")).to_contain_text("/training/epochs must be a number")
    text.fill(json.dumps(config))
    new_job.get_by_role("button", name="Back to the form").click()
    expect(new_job.get_by_label("Epochs")).to_have_value("77")
    kept = new_job.get_by_role("status").filter(has_text="Fields outside this form are kept")
    expect(kept).to_contain_text("training.warmup_steps, teachers.teacher.methods.0.split")
    assert submitted(new_job)["config"] == config


def test_an_error_goes_when_its_field_changes(new_job: Page):
    wrong = {"pointer": "/config/training/lr", "detail": "Input should be greater than 0"}
    submitted(new_job, problem("request_invalid", "A field of the request is wrong.", wrong), 422)
    expect(new_job.get_by_text("Input should be greater than 0").first).to_be_visible()
    focused = new_job.evaluate("document.activeElement.labels?.[0]?.textContent")
    new_job.get_by_label("Epochs").fill("3")
    expect(new_job.get_by_text("Input should be greater than 0").first).to_be_visible()
    new_job.get_by_label("Learning rate").fill("0.001")
    expect(new_job.get_by_text("Input should be greater than 0")).to_have_count(0)
    expect(new_job.get_by_text("A field of the request is wrong.")).to_have_count(0)
    assert focused == "Learning rate"


def test_a_suggested_class_map_is_taken_over_with_one_click(new_job: Page):
    detail = "The teacher does not know the class car of the dataset."
    hint = 'Say which is which: "class_map": {"auto": "car"}.'
    wrong = {"pointer": "/teacher_ids/teacher", "detail": detail, "hint": hint}
    submitted(new_job, problem("class_names_differ", detail, wrong), 422)
    new_job.get_by_role("button", name="Take over these class names").click()
    expect(new_job.get_by_label("teacher's class 1")).to_have_value("auto")
    expect(new_job.get_by_label("class of the dataset 1")).to_have_value("car")
    expect(new_job.get_by_text(detail)).to_have_count(0)
    assert submitted(new_job)["config"]["teachers"]["teacher"]["class_map"] == {"auto": "car"}


def test_each_of_several_teachers_has_its_checkpoint_its_methods_and_its_errors(new_job: Page):
    new_job.get_by_role("button", name="Add a teacher").click()
    group = new_job.get_by_role("group", name="Teacher second")
    expect(group.get_by_label(METHODS["matched_logits"].title)).to_be_checked()
    expect(group.get_by_label(METHODS["query_prior"].title)).not_to_be_checked()
    group.get_by_label(METHODS["feature_maps"].title).check()
    group.get_by_label("Lowest AP of teacher second").fill("30")
    first = submitted(new_job, problem("no_teacher", "x", {"pointer": "/teacher_ids/second", "detail": "None."}), 422)
    assert first["teacher_ids"] == {"teacher": id_of(3)}
    expect(new_job.get_by_label("Teacher second", exact=True)).to_be_focused()
    new_job.get_by_label("Teacher second", exact=True).select_option(id_of(4))
    expect(new_job.get_by_text("None.")).to_have_count(0)
    wrong = {"pointer": "/config/teachers/second/methods/1/weight", "detail": "Too much."}
    second = submitted(new_job, problem("request_invalid", "x", wrong), 422)
    assert second["teacher_ids"] == {"teacher": id_of(3), "second": id_of(4)}
    teachers = second["config"]["teachers"]
    assert [method["kind"] for method in teachers["second"]["methods"]] == ["matched_logits", "feature_maps"]
    assert [teachers[name]["min_ap"] for name in ("teacher", "second")] == [0.1, 0.3]
    expect(group.get_by_text("Too much.")).to_be_visible()
    new_job.get_by_role("button", name="Remove teacher second").click()
    last = submitted(new_job)
    assert last["teacher_ids"] == {"teacher": id_of(3)}
    assert list(last["config"]["teachers"]) == ["teacher"]


def test_the_short_form_for_one_teacher_is_sent_as_written_and_shown_in_the_form(new_job: Page):
    new_job.get_by_role("button", name="Edit as JSON").click()
    short = {"kind": "distill", "teacher": {"min_ap": 0.2}, "methods": [{"kind": "query_prior", "weight": 0.5}]}
    new_job.get_by_label("configuration as JSON").fill(json.dumps(short))
    wrong = {"pointer": "/config/methods/0/weight", "detail": "Too much."}
    sent = submitted(new_job, problem("request_invalid", "x", wrong), 422)
    assert sent["config"] == short
    assert sent["teacher_ids"] == {"teacher": id_of(3)}
    expect(new_job.get_by_role("alert")).to_contain_text("/config/methods/0/weight Too much.")
    new_job.get_by_role("button", name="Back to the form").click()
    expect(new_job.get_by_label("Lowest teacher AP")).to_have_value("20")
    methods = submitted(new_job)["config"]["teachers"]["teacher"]["methods"]
    assert methods == [{"kind": "query_prior", "weight": 0.5}]


def test_a_missing_teacher_is_said_at_its_field_until_one_is_chosen(new_job: Page):
    teacher = new_job.get_by_label("Teacher", exact=True)
    teacher.select_option("")
    wrong = {"pointer": "/teacher_id", "detail": "A distill job needs a teacher."}
    assert "teacher_ids" not in submitted(new_job, problem("request_invalid", "x", wrong), 422)
    expect(teacher).to_be_focused()
    teacher.select_option(id_of(3))
    expect(new_job.get_by_text("A distill job needs a teacher.")).to_have_count(0)


def test_partial_weights_are_used_only_where_somebody_says_so(new_job: Page):
    new_job.get_by_label("Teacher", exact=True).select_option(label="teacher 4 (being checked)")
    expect(new_job.get_by_text("It is still being checked; the job waits for it.")).to_be_visible()
    detail = "Only 312 of 526 tensors fit."
    wrong = {"pointer": "/teacher_ids/teacher", "detail": detail, "hint": ""}
    first = submitted(new_job, problem("checkpoint_partial", detail, wrong), 422)
    assert "allow_partial" not in first
    new_job.get_by_label("Use it although only 312 of 526 tensors fit").check()
    assert submitted(new_job)["allow_partial"] is True


def test_a_refused_dataset_cannot_be_chosen_and_says_why(new_job: Page):
    option = new_job.get_by_label("Dataset", exact=True).locator("option", has_text="wrong")
    expect(option).to_be_disabled()
    expect(option).to_have_text("wrong (refused: train/7.jpg is truncated.)")
    new_job.get_by_role("link", name="Library").click()
    row = new_job.get_by_role("listitem").filter(has_text="wrong")
    expect(row).to_contain_text("refused")
    expect(row).to_contain_text("train/7.jpg is truncated. Replace it.")


def test_the_library_shows_what_the_checks_found_and_follows_them(quiet_page: Page):
    found = {
        "coverage": {
            "loaded": 500,
            "total": 526,
            "missing": ["a.weight"],
            "unexpected": [],
            "renamed": ["prefix stripped"],
        },
        "warnings": ["It was trained with padded inputs."],
        "class_count": 1203,
    }
    checking = checkpoint(3, state="checking", kind=None, family=None, parameters=None, classes=[], coverage=None)
    rows = [checking | {"queries": None, "decoder_layers": None, "image_width": None, "class_count": 0}]
    serve_list(quiet_page, "/checkpoints", rows)
    quiet_page.goto("/view/library")
    row = quiet_page.get_by_role("listitem").filter(has_text="teacher 3")
    expect(row).to_contain_text("being checked")
    rows[0] = checkpoint(3, **found)
    for text in ("Only 500 of 526 tensors are filled.", "prefix stripped", "padded inputs", "1,203 classes"):
        expect(row).to_contain_text(text)
    expect(row).not_to_contain_text("being checked")


@pytest.mark.parametrize("count", [105, 230])
def test_the_oldest_dataset_of_many_can_be_found_and_chosen(quiet_page: Page, count: int):
    serve_list(quiet_page, "/datasets", [dataset(number) for number in range(count, 0, -1)])
    quiet_page.goto("/view/new")
    select = quiet_page.get_by_label("Dataset", exact=True)
    quiet_page.get_by_label("Find in Dataset").fill("dataset 1")
    select.select_option(id_of(1))
    quiet_page.get_by_label("Find in Dataset").fill("")
    expect(select).to_have_value(id_of(1))
    quiet_page.get_by_role("link", name="Library").click()
    quiet_page.get_by_label("Find datasets").fill("dataset 2")
    expect(quiet_page.get_by_role("listitem").filter(has_text="dataset 2").last).to_be_visible()


def test_every_term_is_drawn_and_no_chart_leaves_its_card(quiet_page: Page):
    names = [
        "total",
        "lr",
        "grad_norm",
        "of_tomorrow",
        "detection.l1",
        *TERMS,
        "helper.matched_logits.l1",
        "novel.thing",
    ]
    series = [
        {"role": role, "name": name, "steps": [1, 2], "epochs": [0.5, 1.0], "values": [2.0, 1.0]}
        for name in names
        for role in ("student", "control")
    ]
    teachers = {"big": answers.teacher_entry(*METHODS), "helper": answers.teacher_entry("matched_logits")}
    config = {"kind": "distill", "teachers": teachers, "control": True}
    serve(quiet_page, f"/jobs/{id_of(1)}", job(config=config))
    serve(quiet_page, f"/jobs/{id_of(1)}/metrics", {"series": series, "evaluations": []})
    serve(quiet_page, f"/jobs/{id_of(1)}/artifacts", {"data": []})
    quiet_page.goto(f"/view/jobs/{id_of(1)}")
    titles = [
        *(f"Teacher big: {method.title}" for method in METHODS.values()),
        CURVES["grad_norm"].title,
        "Of tomorrow",
        "Novel",
    ]
    for title in (*titles, f"Teacher helper: {METHODS['matched_logits'].title}"):
        expect(quiet_page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    expect(quiet_page.locator("figure")).to_have_count(len([name for name in names if "." in name]))
    expect(quiet_page.locator("canvas")).to_have_count(len(names))
    for width in (1280, 1000, 1280, 500, 390):
        quiet_page.set_viewport_size({"width": width, "height": 900})
        quiet_page.wait_for_timeout(200)
        outside = """() => [...document.querySelectorAll("canvas")].filter(canvas => {
            const card = canvas.closest("section").getBoundingClientRect(), own = canvas.getBoundingClientRect();
            return own.right > card.right || own.width < 40;
        }).length"""
        assert quiet_page.evaluate(outside) == 0, width
        assert quiet_page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_teacher_is_shown_by_its_name(quiet_page: Page):
    path = f"/jobs/{id_of(1)}"
    teachers = {"teacher": answers.teacher_entry("matched_logits"), "big": answers.teacher_entry("query_prior")}
    config = {"kind": "distill", "teachers": teachers, "control": True}
    ended = job(config=config, result=result(0.4, 0.3, None, teacher=0.5, big=0.6))
    rows = [
        answers.METRICS | {"ap": ap, "per_class": {}, "role": "teacher", "teacher": name, "step": 0, "epoch": 0.0}
        for name, ap in (("teacher", 0.5), ("big", 0.6))
    ]
    serve(quiet_page, path, ended)
    serve(quiet_page, f"{path}/metrics", {"series": [], "evaluations": rows})
    serve(quiet_page, f"{path}/artifacts", {"data": []})
    quiet_page.goto(f"/view{path}")
    scores = quiet_page.locator("dl")
    for title, ap in (("Teacher AP", "50.0"), ("Teacher big AP", "60.0")):
        expect(scores.locator("div", has=quiet_page.get_by_text(title, exact=True))).to_contain_text(ap)
    expect(scores).to_contain_text("67 % of the best teacher")
    for name, ap in (("teacher", "50.0"), ("teacher big", "60.0"), ("student", "40.0")):
        cells = quiet_page.locator("tr", has=quiet_page.get_by_text(name, exact=True)).locator("td")
        expect(cells.nth(1)).to_have_text(ap)
    legend = quiet_page.locator("section", has=quiet_page.get_by_role("heading", name="AP on the validation set"))
    expect(legend.locator(".u-legend")).to_contain_text("teacher big")


def test_a_student_that_learned_nothing_is_no_success(quiet_page: Page):
    verdict = "learned nothing: the student's AP is 0.002. Train longer or with a higher rate."
    ended = job(result=result(0.0022, 0.0021, verdict))
    serve(quiet_page, f"/jobs/{id_of(1)}", ended)
    serve_list(quiet_page, "/jobs", [ended, job(id=id_of(2), name="fine", result=result(0.4, 0.3, None))])
    quiet_page.goto("/")
    row = quiet_page.get_by_role("row").filter(has_text="made up")
    expect(row).to_contain_text("learned nothing")
    expect(row.locator(".text-good")).to_have_count(0)
    expect(row).not_to_contain_text("+0.0")
    expect(quiet_page.get_by_role("row").filter(has_text="fine").locator("td.text-good")).to_have_text("+10.0")
    quiet_page.get_by_role("link", name="made up").click()
    alert = quiet_page.get_by_role("alert").filter(has_text="Learned nothing")
    expect(alert).to_contain_text("The student's AP is 0.002. Train longer or with a higher rate.")
    expect(quiet_page.locator("dl .text-good")).to_have_count(0)


def test_a_failed_job_can_be_run_again(quiet_page: Page):
    failed = job(state="failed", error={"code": "x", "message": "It broke.", "hint": "", "pointer": ""})
    path = f"/jobs/{id_of(1)}"
    serve(quiet_page, path, failed)
    serve(quiet_page, f"{path}/metrics", {"series": [], "evaluations": []})
    serve(quiet_page, f"{path}/artifacts", {"data": []})
    refusal = problem(
        "not_possible", "Its dataset is gone.", {"pointer": "/dataset_id", "detail": "x", "hint": "Start anew."}
    )
    quiet_page.goto(f"/view{path}")
    sent = serve(quiet_page, f"{path}/retry", refusal, 422, "POST")
    quiet_page.get_by_role("button", name="Run again from the start").click()
    expect(quiet_page.get_by_role("alert").filter(has_text="not started again")).to_contain_text("Its dataset is gone.")
    assert sent == [{"from": "start"}]
    again = job(state="queued", finished_at=None, waiting_for=["/dataset_id", "/teacher_ids/teacher"])
    serve(quiet_page, path, again)
    sent = serve(quiet_page, f"{path}/retry", again, 202, "POST")
    quiet_page.get_by_role("button", name="Go on from the last checkpoint").click()
    expect(quiet_page.get_by_role("button", name="Cancel")).to_be_visible()
    assert sent == [{"from": "checkpoint"}]
    waiting = quiet_page.get_by_role("status").filter(has_text="Waiting for files that are still being checked")
    expect(waiting).to_contain_text("dataset, teacher")


def test_files_are_listed_while_a_job_runs(quiet_page: Page):
    path = f"/jobs/{id_of(1)}"
    serve(quiet_page, path, job(state="running", finished_at=None, stage="train_student", progress=0.4))
    file = {"name": "log.txt", "size": 10, "sha256": "0" * 64, "url": f"{path}/artifacts/log.txt"}
    serve(quiet_page, f"{path}/metrics", {"series": [], "evaluations": []})
    serve(quiet_page, f"{path}/artifacts", {"data": [file | {"created_at": answers.CREATED}]})
    quiet_page.goto(f"/view{path}")
    expect(quiet_page.get_by_role("link", name="log.txt")).to_be_visible()
    expect(quiet_page.get_by_text("As they are now; the job still runs.")).to_be_visible()


def test_a_mistyped_address_of_a_job_says_that_there_is_none(quiet_page: Page):
    quiet_page.goto("/view/jobs/abc")
    expect(quiet_page.get_by_role("alert")).to_contain_text("There is no such job")


def test_one_file_without_a_split_is_divided_by_the_upload_form(quiet_page: Page):
    """What the refusal of such a file asks for can be given on the page; left blank, it is not sent."""
    serve_list(quiet_page, "/datasets", [])
    sent: list[bytes] = []

    def keep(route: Route) -> None:
        if route.request.method != "POST":
            route.fallback()
            return
        sent.append(route.request.post_data_buffer or b"")
        route.fulfill(status=201, json=dataset(1))

    quiet_page.route("**/datasets", keep)
    quiet_page.goto("/view/library")
    form = quiet_page.get_by_role("form", name="Upload a dataset")
    for share in ("0.25", ""):
        form.get_by_label("files").set_input_files({"name": "all.zip", "mimeType": "x", "buffer": b"zip"})
        form.get_by_text("not split").click()
        form.get_by_label("Share for validation").fill(share)
        form.get_by_role("button", name="Upload", exact=True).click()
        expect(form.get_by_role("button", name="Upload", exact=True)).to_have_count(0)
    assert len(sent) == 2
    assert b'name="val_fraction"\r\n\r\n0.25\r\n' in sent[0]
    assert b'name="seed"' not in sent[0]
    assert b"val_fraction" not in sent[1]
