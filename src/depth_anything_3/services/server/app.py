"""Make the ASGI application of the server."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import DA3Error
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inputs.limits import DEFAULT_PROCESS_RES
from depth_anything_3.model.catalog import DepthKind
from depth_anything_3.runtime.version import __version__
from depth_anything_3.services.server.depth_route import depth_router
from depth_anything_3.services.server.early_answers import EarlyAnswers
from depth_anything_3.services.server.metrics import CONTENT_TYPE
from depth_anything_3.services.server.openapi import example_of, problems, text_example
from depth_anything_3.services.server.problems import PROBLEM_TYPE, Problem, problem_of
from depth_anything_3.services.server.results import MEDIA_TYPES
from depth_anything_3.services.server.scene_route import scene_router
from depth_anything_3.services.server.security import Gate
from depth_anything_3.services.server.server import Server
from depth_anything_3.services.server.settings import ServerSettings
from depth_anything_3.services.server.stream_route import stream_router
from depth_anything_3.services.server.upstream_route import upstream_router

__all__ = ["create_app"]

logger = logging.getLogger(__name__)

_PAGE = Path(__file__).parents[1] / "page"
_MAY_KEEP = {"Cache-Control": "no-cache"}
_UNITS = {DepthKind.METRIC: "metres", DepthKind.CANONICAL: "canonical", DepthKind.RELATIVE: "relative"}


def create_app(model: Engine | DepthAnything3, settings: ServerSettings | None = None) -> FastAPI:
    """Make the application; its `state.server` is the `Server`, whose threads start and end with the lifespan.

    Args:
        model: what computes; nothing else may use it meanwhile.
        settings: see `ServerSettings`; None: the defaults.
    """
    engine = model if isinstance(model, Engine) else model.engine
    server = Server(engine, settings or ServerSettings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server.start()
        try:
            yield
        finally:
            server.close()

    app = FastAPI(
        title="da3",
        version=__version__,
        summary="Depth of uploaded images.",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.server = server
    app.include_router(depth_router(server))
    app.include_router(scene_router(server))
    app.include_router(stream_router(server))
    if server.settings.upstream:
        app.include_router(upstream_router(server))
    _add_information(app, server)
    _add_page(app)
    _add_errors(app)
    app.add_middleware(Gate, settings=server.settings, metrics=server.metrics)
    app.add_middleware(EarlyAnswers, max_bytes=server.settings.max_body_bytes)
    return app


def _add_information(app: FastAPI, server: Server) -> None:
    @app.get(
        "/v1/models",
        summary="The model, its formats and the limits",
        responses={200: example_of("The model.", _models(server)), **problems(401, 403)},
    )
    def models() -> dict[str, object]:
        return _models(server)

    @app.get(
        "/healthz",
        summary="Whether the server is alive",
        responses={200: example_of("It is.", {"status": "alive"}), **problems(403)},
    )
    def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get(
        "/readyz",
        summary="Whether it accepts requests",
        responses={
            200: example_of("It does.", {"status": "ready"}),
            503: example_of("It does not: it is starting or draining, or the device failed.", {"status": "draining"}),
            **problems(401, 403),
        },
    )
    def readyz() -> Response:
        why = server.why_not_ready()
        return JSONResponse({"status": why or "ready"}, 503 if why else 200)

    @app.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={
            200: text_example("The metrics.", "text/plain", 'da3_requests_total{route="/v1/depth",status="200"} 3.0'),
            **problems(401, 403),
        },
    )
    def metrics() -> Response:
        return Response(server.metrics.text(), media_type=CONTENT_TYPE)


def _models(server: Server) -> dict[str, object]:
    settings, card = server.settings, server.engine.card
    return {
        "model": card.name,
        "licence": card.licence,
        "depth_unit": _UNITS[card.depth_kind],
        "process_res": card.best_process_res or DEFAULT_PROCESS_RES,
        "has_cameras": card.has_poses,
        "scenes": card.has_poses,
        "formats": list(MEDIA_TYPES),
        "limits": {
            "body_bytes": settings.max_body_bytes,
            "pixels": settings.max_pixels,
            "network_pixels": settings.max_network_pixels,
            "output_pixels": settings.max_output_pixels,
            "requests": settings.max_requests,
            "views": settings.max_views,
            "deadline_seconds": settings.deadline,
        },
    }


class _PageFiles(StaticFiles):
    """Files that a browser keeps, and asks each time whether they have changed."""

    def file_response(self, *args: Any, **options: Any) -> Response:  # Any: as the base class
        response = super().file_response(*args, **options)
        response.headers.update(_MAY_KEEP)
        return response


def _add_page(app: FastAPI) -> None:
    """Serve the page and its files."""

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        if not (_PAGE / "index.html").is_file():
            raise Problem(404, "no-page", "this build has no page; /openapi.json describes the routes")
        return FileResponse(_PAGE / "index.html", headers=_MAY_KEEP)

    if _PAGE.is_dir():
        app.mount("/static", _PageFiles(directory=_PAGE), name="static")


def _add_errors(app: FastAPI) -> None:
    """Answer every error with problem+json, without a traceback."""

    def respond(problem: Problem) -> Response:
        headers = {"Connection": "close", **problem.headers}
        return Response(problem.body(), problem.status, headers, media_type=PROBLEM_TYPE)

    @app.exception_handler(Problem)
    @app.exception_handler(DA3Error)
    async def known(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        if problem.status >= 500 and not isinstance(error, Problem):
            logger.error("%s %s: %s", request.method, request.url.path, error)
        return respond(problem)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        shown = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()[:5])
        return respond(Problem(422, "invalid-request", shown, "InvalidInputError"))

    @app.exception_handler(HTTPException)
    async def of_routing(request: Request, error: HTTPException) -> Response:
        name = {404: "not-found", 405: "wrong-method"}.get(error.status_code, "http")
        detail = f"{request.method} {request.url.path[:200]}: {error.detail}; /openapi.json lists the routes"
        return respond(Problem(error.status_code, name, detail, headers=error.headers))
