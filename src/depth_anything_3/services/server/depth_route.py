"""`POST /v1/depth`: the depth of one uploaded image."""

from __future__ import annotations

import asyncio
import difflib
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.format_options import Colormap
from depth_anything_3.inference.output_options import OutputOptions
from depth_anything_3.inputs.choices import Fidelity, OutputSize, ProcessResMethod, Upsampling
from depth_anything_3.inputs.image_source import ImageSource
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.prediction import Prediction
from depth_anything_3.prediction.focal_length import check_focal_or_fov
from depth_anything_3.services.server.delivery import Delivery
from depth_anything_3.services.server.openapi import depth_answers, depth_bodies
from depth_anything_3.services.server.problems import late
from depth_anything_3.services.server.results import Answer, ResultOptions, choose_media_type, encode
from depth_anything_3.services.server.scheduler import DepthRequest, Ticket
from depth_anything_3.services.server.server import Server
from depth_anything_3.services.server.upload_plan import plan_upload
from depth_anything_3.services.server.uploads import uploaded

__all__ = ["DepthQuery", "depth_router", "parse_options"]

_CLIENT_GONE = 499  # nobody reads it; nginx logs this number


@dataclass(frozen=True, kw_only=True)
class DepthQuery:
    """The query of a request, as in the URL."""

    process_res: int | None = None
    process_res_method: str | None = None
    fidelity: str | None = None
    output_size: str | None = None
    upsampling: str | None = None
    focal: float | None = None
    colormap: str | None = None


def depth_router(server: Server) -> APIRouter:
    """Make the route."""
    router = APIRouter()

    @router.post(
        "/v1/depth",
        summary="Depth of one image",
        response_class=Response,
        responses=depth_answers(),
        openapi_extra={"requestBody": {"required": True, "content": depth_bodies()}},
    )
    async def depth(
        request: Request,
        process_res: Annotated[
            int | None, Query(description="Longest side of the network's input, pixels.", examples=[504])
        ] = None,
        process_res_method: Annotated[
            str | None, Query(description=_choices(ProcessResMethod), examples=["upper_bound_resize"])
        ] = None,
        fidelity: Annotated[str | None, Query(description=_choices(Fidelity), examples=["exact"])] = None,
        output_size: Annotated[str | None, Query(description=_choices(OutputSize), examples=["input"])] = None,
        upsampling: Annotated[str | None, Query(description=_choices(Upsampling), examples=["guided"])] = None,
        focal: Annotated[
            float | None, Query(description="Focal length in pixels of the upright image.", examples=[2400.0])
        ] = None,
        colormap: Annotated[
            str | None, Query(description=f"Of image/jpeg: {_choices(Colormap)}", examples=["turbo"])
        ] = None,
    ) -> Response:
        _check_names(request)
        query = DepthQuery(
            process_res=process_res,
            process_res_method=process_res_method,
            fidelity=fidelity,
            output_size=output_size,
            upsampling=upsampling,
            focal=focal,
            colormap=colormap,
        )
        return await _answer(server, request, query)

    return router


async def _answer(server: Server, request: Request, query: DepthQuery) -> Response:
    began = time.monotonic()
    server.check_ready()
    media_type = choose_media_type(request.headers.get("accept"))
    preprocess, options = parse_options(query, media_type)
    preprocess = replace(server.engine.resolved(preprocess), executor=server.settings.executor)
    try:
        async with uploaded(request, server.settings, server.admission) as upload:
            server.check_ready()  # others may have taken the places meanwhile
            planned = await server.in_worker(
                partial(plan_upload, upload, server.settings, preprocess, at_input_size=options.output.at_input_size)
            )
            pixels = planned.pixels
            server.admission.enter(pixels)
            leave = partial(server.admission.leave, pixels)
            try:
                source = ImageSource(upload.name, upload.data)
                answer = await _computed(server, request, DepthRequest(source, preprocess), options, began)
            except BaseException:
                leave()
                raise
            return Delivery(answer.content, answer.headers, server.settings.read_timeout, leave)
    except ClientDisconnect:
        return Response(status_code=_CLIENT_GONE)


def parse_options(query: DepthQuery, media_type: str) -> tuple[PreprocessOptions, ResultOptions]:
    """Parse a query.

    Raises:
        InvalidInputError: a value is not accepted.
    """
    given = {name: getattr(query, name) for name in ("process_res", "process_res_method", "fidelity")}
    size = {name: getattr(query, name) for name in ("output_size", "upsampling")}
    check_focal_or_fov(query.focal, None)
    preprocess = PreprocessOptions(**_given(given))  # type: ignore[arg-type]  # it parses the strings
    result = ResultOptions(
        media_type=media_type,
        output=OutputOptions(**_given(size)),  # type: ignore[arg-type]
        focal=query.focal,
        colormap=Colormap(query.colormap or Colormap.SPECTRAL),
    )
    return preprocess, result


def _given(values: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


async def _computed(
    server: Server, request: Request, asked: DepthRequest, options: ResultOptions, began: float
) -> Answer:
    deadline = began + server.settings.deadline
    ticket = server.scheduler.submit(
        DepthRequest(asked.source, asked.preprocess, deadline if server.settings.deadline else None)
    )
    prediction = await _result(ticket, request, server.settings.deadline, deadline)
    queued, computed = ticket.queued_seconds, time.monotonic()
    answer: Answer = await server.in_worker(partial(encode, prediction, asked.source, asked.preprocess, options))
    for name, seconds in (("queue", queued), ("encode", time.monotonic() - computed)):
        server.metrics.stage(name, seconds)
    server.metrics.stage("total", time.monotonic() - began)
    return replace(answer, headers={**answer.headers, "X-Queue-Ms": f"{1e3 * queued:.2f}"})


async def _result(ticket: Ticket, request: Request, seconds: float, deadline: float) -> Prediction:
    """Wait for a prediction, until the deadline or until the client has gone, whichever is first."""
    waiting = asyncio.wrap_future(ticket.future)
    gone = asyncio.ensure_future(request.receive())  # after the body only the end of the connection comes
    left = max(0.0, deadline - time.monotonic()) if seconds else None
    both: set[asyncio.Future[Any]] = {waiting, gone}  # Any: two kinds of results
    await asyncio.wait(both, timeout=left, return_when=asyncio.FIRST_COMPLETED)
    if waiting.done():
        gone.cancel()
        return waiting.result()
    waiting.cancel()  # cancels the request, if it has not begun
    if gone.done():
        raise ClientDisconnect
    gone.cancel()
    raise late(seconds)


def _check_names(request: Request) -> None:
    """Refuse unknown parameters: a misspelt one would be ignored, and the result not what was asked for."""
    known = list(DepthQuery.__dataclass_fields__)
    for name in request.query_params:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise InvalidInputError(f"unknown parameter {name[:40]!r}{hint} This route takes: {', '.join(known)}")


def _choices(
    kind: type[ProcessResMethod] | type[Fidelity] | type[OutputSize] | type[Upsampling] | type[Colormap],
) -> str:
    return ", ".join(one.value for one in kind)
