"""The ASGI application: `uvicorn --factory api.app:create_app`."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response

from api import health
from api.checkpoints import routes as checkpoints
from api.datasets import routes as datasets
from api.db import get_engine
from api.errors import describe_problems, install_handlers, problem_response
from api.guards import AnnouncedLength, SameOrigin
from api.jobs import artifacts, stream
from api.jobs import routes as jobs
from api.live import Live
from api.settings import Settings, get_settings
from detrdistill import __version__

_DESCRIPTION = """Distil big DETR-family object detectors into small, fast ones.

1. `POST /datasets`: COCO data, with a `train` and a `val` split.
2. `POST /checkpoints`: the teacher.
3. `POST /jobs`: what to do; `GET /jobs/{id}/events` follows it live.
4. `GET /jobs/{id}/artifacts`: the student, as a folder that `transformers` loads with one line.

Every error is problem details (RFC 9457) and points at the field at fault.
"""

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
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.live = Live(settings.database_url)
    for router in (jobs.router, stream.router, artifacts.router, datasets.router, checkpoints.router, health.router):
        app.include_router(router, max_body_size=settings.max_upload_bytes)
    install_handlers(app)
    generate = app.openapi
    app.openapi = lambda: describe_problems(generate())
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.allowed_hosts)
    app.add_middleware(SameOrigin)
    app.add_middleware(AnnouncedLength, max_bytes=settings.max_upload_bytes)
    _serve_dashboard(app, settings.dashboard_dir)
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
