"""The ASGI application: `uvicorn --factory api.app:create_app`."""

import importlib.util
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

from api import catalog, health
from api.checkpoints import routes as checkpoints
from api.datasets import routes as datasets
from api.db import get_engine
from api.errors import describe_problems, install_handlers, problem_response
from api.guards import install_guards
from api.jobs import artifacts, stream
from api.jobs import routes as jobs
from api.live import Live
from api.request_id import put_ids_into_logs
from api.settings import Settings, get_settings
from detrdistill import __version__

_DESCRIPTION = """Distil big DETR-family object detectors into small, fast ones.

1. `POST /datasets`: COCO data, with a `train` and a `val` split.
2. `POST /checkpoints`: the teacher.
3. `POST /jobs`: what to do; `GET /jobs/{id}/events` follows it live.
4. `GET /jobs/{id}/artifacts`: the student, as a folder that `transformers` loads with one line.

Every error is problem details (RFC 9457) and points at the field at fault.
"""

MAX_JSON_BYTES = 1024**2
"""Largest body of a route that takes JSON or nothing."""
_FORM_LIMITS: Any = {"max_fields": 20, "max_files": 1000, "max_part_size": 64 * 1024}
"""Text fields and files of a form, and bytes of one text field. More files come as one zip."""

_CONTENT_SECURITY_POLICY = "default-src 'self'; img-src 'self' data:; object-src 'none'; frame-ancestors 'none'"


class Dashboard(StaticFiles):
    """The built dashboard. File names carry a hash of their content, so browsers may keep them for ever."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """Serve one file."""
        response = super().file_response(*args, **kwargs)  # pyright: ignore[reportArgumentType]
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    put_ids_into_logs()
    app.state.live.start()
    yield
    await app.state.live.stop()
    get_engine().dispose()


def create_app(settings: Settings | None = None) -> FastAPI:
    """Put the application together; settings come from the environment unless given."""
    settings = settings or get_settings()
    app = FastAPI(
        title="detrdistill",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=_lifespan,
        license_info={"name": "Apache-2.0"},
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.live = Live(settings.database_url)
    for router in (jobs.router, stream.router, artifacts.router, health.router, catalog.router):
        app.include_router(router, max_body_size=min(MAX_JSON_BYTES, settings.max_upload_bytes))
    for router in (datasets.router, checkpoints.router):
        app.include_router(router, max_body_size=settings.max_upload_bytes, form_limits=_FORM_LIMITS)
    install_handlers(app)
    generate = app.openapi
    app.openapi = lambda: describe_problems(generate())
    install_guards(app, settings.allowed_hosts)
    _serve_dashboard(app, settings.dashboard_dir)
    _serve_docs(app)
    return app


def _serve_dashboard(app: FastAPI, folder: Path) -> None:
    """The dashboard at `/`; its own pages live below `/view`, so that they never shadow the API."""
    index = folder / "index.html"

    @app.get("/", include_in_schema=False)
    @app.get("/view/{page:path}", include_in_schema=False)
    def dashboard(page: str = "") -> Response:
        del page
        if not index.is_file():
            return problem_response(404, "no_dashboard", "The dashboard is not built; run `make setup`.")
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": _CONTENT_SECURITY_POLICY}
        return FileResponse(index, headers=headers)

    app.mount("/assets", Dashboard(directory=folder / "assets", check_dir=False), name="assets")


_DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>detrdistill API</title>
<link rel="icon" href="/docs/assets/favicon.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<p><a href="/">Back to the dashboard</a></p>
<div id="swagger-ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_DOCS_SCRIPT = """SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
});
"""
_DOCS_POLICY = f"{_CONTENT_SECURITY_POLICY}; style-src 'self' 'unsafe-inline'"
"""Swagger UI writes style attributes; scripts come from here alone."""


def _serve_docs(app: FastAPI) -> None:
    """Swagger UI at `/docs`, from the files of an installed package: nothing is loaded from elsewhere."""
    package = importlib.util.find_spec("fastapi_offline")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "static"

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return HTMLResponse(_DOCS_PAGE, headers={"Content-Security-Policy": _DOCS_POLICY})

    @app.get("/docs/start.js", include_in_schema=False)
    def start_script() -> Response:
        return Response(_DOCS_SCRIPT, media_type="text/javascript")

    app.mount("/docs/assets", StaticFiles(directory=folder), name="docs-assets")
