"""Requests for jobs with several teachers."""

from typing import Any


def several_teachers(request: dict[str, Any], further: dict[str, Any], ids: dict[str, str]) -> dict[str, Any]:
    """A request in the short form, with further teachers and their checkpoints; its own one is called `teacher`."""
    config = {key: value for key, value in request["config"].items() if key not in ("teacher", "methods")}
    own = request["config"].get("teacher", {})
    own |= {"methods": request["config"]["methods"]} if "methods" in request["config"] else {}
    rest = {key: value for key, value in request.items() if key not in ("teacher_id", "config")}
    config |= {"teachers": {"teacher": own} | further}
    return rest | {"config": config, "teacher_ids": {"teacher": request["teacher_id"]} | ids}
