"""`WS /v1/stream`: depth of the newest frame that a client sends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, WebSocket
from starlette.websockets import WebSocketDisconnect

from depth_anything_3.errors import DA3Error, InvalidInputError
from depth_anything_3.inputs.image_source import ImageSource
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.services.server.depth_route import DepthQuery, parse_options
from depth_anything_3.services.server.problems import Problem, busy, problem_of
from depth_anything_3.services.server.results import Answer, ResultOptions, encode
from depth_anything_3.services.server.scheduler import DepthRequest
from depth_anything_3.services.server.security import is_same_token, needs_token
from depth_anything_3.services.server.server import Server
from depth_anything_3.services.server.upload_plan import plan_upload
from depth_anything_3.services.server.uploads import Upload

__all__ = ["stream_router"]

Number = TypeVar("Number", int, float)

_FORMATS = {"png": "image/png", "float32": "application/octet-stream", "jpeg": "image/jpeg"}
_MAX_TOKEN_BYTES = 4096

# Codes of RFC 6455 and its registry.
_GOING_AWAY, _UNSUPPORTED, _REFUSED, _TOO_BIG, _RESTART, _TRY_LATER = 1001, 1003, 1008, 1009, 1012, 1013


@dataclass(frozen=True, eq=False)
class _Frame:
    number: int
    data: bytes
    arrived: float


class _Closed(Exception):
    """The connection is to be closed, with this code and reason."""

    def __init__(self, code: int, reason: str, problem: Problem | None = None) -> None:
        super().__init__(reason)
        self.code, self.reason, self.problem = code, reason, problem


def stream_router(server: Server) -> APIRouter:
    """Make the route."""
    router = APIRouter()
    streams: set[_Stream] = set()
    server.metrics.watch("da3_streams", "Open WebSockets.", lambda: len(streams))

    @router.websocket("/v1/stream")
    async def stream(
        socket: WebSocket,
        format: Annotated[str, Query()] = "png",
        process_res: Annotated[str | None, Query()] = None,
        process_res_method: Annotated[str | None, Query()] = None,
        fidelity: Annotated[str | None, Query()] = None,
        focal: Annotated[str | None, Query()] = None,
        colormap: Annotated[str | None, Query()] = None,
    ) -> None:
        await socket.accept()
        one = _Stream(server, socket)
        try:
            await one.check_token()
            if len(streams) >= server.settings.max_streams:
                raise _Closed(_TRY_LATER, "too many streams", busy(5, f"{len(streams)} streams are open already"))
            streams.add(one)
            query = DepthQuery(
                process_res=_number(int, "process_res", process_res),
                process_res_method=process_res_method,
                fidelity=fidelity,
                focal=_number(float, "focal", focal),
                colormap=colormap,
            )
            await one.run(query, format)
        except WebSocketDisconnect:
            pass
        except _Closed as closed:
            await one.close(closed)
        except (Problem, DA3Error) as error:
            problem = problem_of(error)
            await one.close(_Closed(_TRY_LATER if problem.status in (429, 503) else _REFUSED, problem.name, problem))
        finally:
            streams.discard(one)

    return router


class _Stream:
    """One client: a frame waits, and a newer one replaces it while another one is computed."""

    def __init__(self, server: Server, socket: WebSocket) -> None:
        self._server, self._socket = server, socket
        self._received = self._dropped = 0
        self._waiting: _Frame | None = None
        self._arrived = asyncio.Event()

    async def check_token(self) -> None:
        """Read the token, unless the Authorization header has it: browsers cannot send that.

        Raises:
            _Closed: it is wrong, or not the first message.
        """
        token = self._server.settings.token
        if token is None or not needs_token(self._socket.scope):
            return
        text = await self._message(self._server.settings.read_timeout)
        try:
            given = json.loads(text)["token"] if isinstance(text, str) and len(text) < _MAX_TOKEN_BYTES else ""
        except (ValueError, TypeError, KeyError, RecursionError):
            given = ""
        if not isinstance(given, str) or not is_same_token(given, token):
            problem = Problem(401, "no-token", 'send {"token": "TOKEN"} as the first message')
            raise _Closed(_REFUSED, "no token", problem)

    async def run(self, query: DepthQuery, format: str) -> None:
        """Receive frames and answer the newest, until the client closes.

        Raises:
            _Closed: the server closes.
            WebSocketDisconnect: the client has gone.
            InvalidInputError: the query is not accepted.
        """
        if format not in _FORMATS:
            raise InvalidInputError(f"format={format[:40]!r}: give one of {', '.join(_FORMATS)}")
        self._server.check_ready()
        preprocess, options = parse_options(query, _FORMATS[format])
        preprocess = replace(self._server.engine.resolved(preprocess), executor=self._server.settings.executor)
        receiving = asyncio.ensure_future(self._receive())
        answering = asyncio.ensure_future(self._answer(preprocess, options))
        both = {receiving, answering}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            self._take()
        for one in both:
            if not one.cancelled() and (error := one.exception()) is not None:
                raise error

    async def close(self, closed: _Closed) -> None:
        """Say why, and close."""
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, asyncio.TimeoutError):  # it has gone by itself
            if closed.problem is not None:
                await self._send({"error": json.loads(closed.problem.body())})
            await self._socket.close(closed.code, closed.reason[:100])

    async def _message(self, seconds: float) -> str | bytes:
        """Wait for a message.

        Raises:
            _Closed: none came in time.
            WebSocketDisconnect: the client has gone.
        """
        try:
            message = await asyncio.wait_for(self._socket.receive(), seconds or None)
        except asyncio.TimeoutError:
            raise _Closed(_GOING_AWAY, "no message in time") from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        data: bytes | None = message.get("bytes")
        return data if data is not None else str(message.get("text", ""))

    async def _receive(self) -> None:
        settings, admission = self._server.settings, self._server.admission
        while True:
            data = await self._message(settings.stream_idle)
            if isinstance(data, str):
                raise _Closed(_UNSUPPORTED, "send frames as binary messages")
            if len(data) > settings.max_frame_bytes:
                raise _Closed(_TOO_BIG, f"a frame may have {settings.max_frame_bytes} bytes")
            number, self._received = self._received, self._received + 1
            if self._take() is not None:
                self._dropped += 1
            try:
                admission.hold_bytes(len(data))
            except Problem:  # a newer frame may find room
                self._dropped += 1
                continue
            self._waiting = _Frame(number, data, time.monotonic())
            self._arrived.set()

    def _take(self) -> _Frame | None:
        """Take the frame that waits, whose bytes are no longer held; None if there is none."""
        frame, self._waiting = self._waiting, None
        self._arrived.clear()
        if frame is not None:
            self._server.admission.release_bytes(len(frame.data))
        return frame

    async def _answer(self, preprocess: PreprocessOptions, options: ResultOptions) -> None:
        while True:
            await self._arrived.wait()
            frame = self._take()
            if frame is None:
                continue
            try:
                answer, about = await self._computed(frame, preprocess, options)
            except (Problem, DA3Error) as error:
                problem = problem_of(error)
                await self._send({"frame": frame.number, **self._counts(), "error": json.loads(problem.body())})
                if self._server.admission.is_draining:
                    raise _Closed(_RESTART, "the server is about to stop") from None
            else:
                milliseconds = round(1e3 * (time.monotonic() - frame.arrived), 2)
                about = {"frame": frame.number, **self._counts(), **about, "total_ms": milliseconds}
                await self._send({**about, "bytes": len(answer.content)}, answer.content)

    def _counts(self) -> dict[str, object]:
        return {"received": self._received, "dropped": self._dropped}

    async def _computed(
        self, frame: _Frame, preprocess: PreprocessOptions, options: ResultOptions
    ) -> tuple[Answer, dict[str, object]]:
        server, upload = self._server, Upload(frame.data, f"frame {frame.number}")
        planned = await server.in_worker(partial(plan_upload, upload, server.settings, preprocess))
        server.admission.enter(planned.pixels)
        try:
            source = ImageSource(upload.name, upload.data)
            ticket = server.scheduler.submit(DepthRequest(source, preprocess))
            prediction = await asyncio.wrap_future(ticket.future)
            answer = await server.in_worker(partial(encode, prediction, source, preprocess, options))
        finally:
            server.admission.leave(planned.pixels)
        return answer, {**_about(answer), "queue_ms": round(1e3 * ticket.queued_seconds, 2)}

    async def _send(self, about: dict[str, object], content: bytes | None = None) -> None:
        """Send a message about a frame, and its depth.

        Raises:
            TimeoutError: the client does not read.
        """
        seconds = self._server.settings.read_timeout or None
        try:
            await asyncio.wait_for(self._socket.send_text(json.dumps(about)), seconds)
            if content is not None:
                await asyncio.wait_for(self._socket.send_bytes(content), seconds)
        except asyncio.TimeoutError:
            raise _Closed(_GOING_AWAY, "the client does not read") from None


def _about(answer: Answer) -> dict[str, object]:
    """Describe a result, by its headers."""
    headers = answer.headers
    height, width = map(int, headers["X-Depth-Shape"].split(","))
    about: dict[str, object] = {"unit": headers["X-Depth-Unit"], "height": height, "width": width}
    for name, header in (("scale", "Scale"), ("min", "Min"), ("max", "Max")):
        if (text := headers.get(f"X-Depth-{header}")) is not None:
            about[name] = float(text)
    if "X-Depth-Intrinsics" in headers:
        about["intrinsics"] = [float(one) for one in headers["X-Depth-Intrinsics"].split(",")]
    return {**about, "network_ms": float(headers["X-Network-Ms"])}


def _number(kind: Callable[[str], Number], name: str, text: str | None) -> Number | None:
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        raise InvalidInputError(f"{name}={text[:40]!r}: give a number") from None
