"""Answers of the API that a real service gives only after long work: rows as the pages get them."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from playwright.sync_api import Page, Route

CREATED = "2025-01-02T03:04:05Z"
METRICS = dict.fromkeys(("ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100"), 0.5)
COVERED = {"loaded": 526, "total": 526, "missing": [], "unexpected": [], "renamed": []}


def id_of(number: int) -> str:
    return str(UUID(int=number))


def dataset(number: int, **other: Any) -> dict[str, Any]:
    splits = {name: {"images": 12, "boxes": 30} for name in ("train", "val")}
    row = {
        "id": id_of(number),
        "name": f"dataset {number}",
        "state": "ready",
        "error": None,
        "classes": ["car", "bike"],
    }
    facts = {"class_count": 2, "splits": splits, "warnings": [], "size": 1000, "created_at": CREATED}
    return row | facts | other


def checkpoint(number: int, **other: Any) -> dict[str, Any]:
    row = {"id": id_of(number), "name": f"teacher {number}", "state": "ready", "error": None, "kind": "detector"}
    shape = {"family": "rt-detr-v2", "parameters": 20_000_000, "queries": 300, "two_stage": True, "decoder_layers": 3}
    facts = {"classes": ["auto", "bike"], "class_count": 2, "coverage": COVERED, "warnings": [], "size": 1000}
    image = {"width": 256, "image_height": 640, "image_width": 640, "sha256": "0" * 64, "job_id": None}
    return row | shape | facts | image | {"created_at": CREATED} | other


def job(**other: Any) -> dict[str, Any]:
    row = {"id": id_of(1), "name": "made up", "kind": "distill", "state": "succeeded", "waiting_for": [], "error": None}
    progress = {"cancel_requested": False, "stage": "export", "progress": 1.0, "eta_seconds": None, "attempt": 1}
    inputs = {"dataset_id": id_of(2), "teacher_ids": {"teacher": id_of(3)}, "student_id": None}
    times = {"created_at": CREATED, "started_at": CREATED, "finished_at": CREATED, "worker": None, "last_event_id": 0}
    config = {"kind": "distill", "teachers": {"teacher": teacher_entry("matched_logits")}, "control": True}
    return row | progress | inputs | times | {"ap": {}, "result": None, "config": config} | other


def teacher_entry(*kinds: str) -> dict[str, Any]:
    """An entry of `teachers`."""
    return {"source": "checkpoint", "min_ap": 0.1, "class_map": {}, "methods": [{"kind": kind} for kind in kinds]}


def result(student: float, control: float, verdict: str | None, **teachers: float) -> dict[str, Any]:
    def report(ap: float) -> dict[str, Any]:
        metrics = METRICS | {"ap": ap, "per_class": {}}
        return {"metrics": metrics, "parameters": 1000, "milliseconds_per_image": 1.0, "best_epoch": 1.0}

    named = {name: report(ap) for name, ap in (teachers or {"teacher": 0.5}).items()}
    reports = {"student": report(student), "teachers": named, "control": report(control)}
    return reports | {"kd_gain": student - control, "device": "cpu", "versions": {}, "verdict": verdict}


def serve(page: Page, path: str, response: Any, status: int = 200, method: str = "GET") -> list[Any]:
    """Answer requests for a path in place of the service; gives the bodies that were sent."""
    sent: list[Any] = []

    def fulfil(route: Route) -> None:
        if route.request.method != method:
            route.fallback()
            return
        sent.append(route.request.post_data_json if method == "POST" else None)
        route.fulfill(status=status, json=response)

    page.route(lambda url: urlsplit(url).path == path, fulfil)
    return sent


def serve_list(page: Page, path: str, rows: list[dict[str, Any]]) -> None:
    """A list in pages, as the service gives it."""

    def fulfil(route: Route) -> None:
        if route.request.method != "GET":
            route.fallback()
            return
        query = parse_qs(urlsplit(route.request.url).query)
        limit = int(query.get("limit", ["20"])[0])
        assert limit <= 100
        ids = [row["id"] for row in rows]
        begin = ids.index(query["after"][0]) + 1 if "after" in query else 0
        data = rows[begin : begin + limit]
        route.fulfill(
            body=json.dumps({"data": data, "has_more": begin + limit < len(rows)}), content_type="application/json"
        )

    page.route(lambda url: urlsplit(url).path == path, fulfil)


def problem(code: str, detail: str, *errors: dict[str, str], status: int = 422) -> dict[str, Any]:
    head = {"type": f"urn:detrdistill:problem:{code}", "title": "Unprocessable Entity", "status": status}
    return head | {"detail": detail, "code": code, "errors": list(errors)}
