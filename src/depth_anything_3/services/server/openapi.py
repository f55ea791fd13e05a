"""Describe requests and answers for `/openapi.json`, with an example of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from depth_anything_3.services.server.problems import PROBLEM_TYPE, Problem, busy, draining, late
from depth_anything_3.services.server.results import MEDIA_TYPES

__all__ = ["Answers", "depth_answers", "depth_bodies", "example_of", "job_problems", "problems", "text_example"]

Answers = dict[int | str, dict[str, Any]]  # Any: as FastAPI has it

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "urn:da3:error:NAME, stable"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what was given, what is accepted, what to do next"},
        "error": {"type": "string", "description": "class of depth_anything_3.errors, if there is one"},
    },
}
_SUMMARY = {
    "model": "da3-base",
    "unit": "relative",
    "height": 336,
    "width": 504,
    "image_height": 2000,
    "image_width": 3000,
    "min": 0.61,
    "max": 4.2,
    "intrinsics": {"fx": 431.2, "fy": 431.4, "cx": 252.0, "cy": 168.0},
    "warnings": [],
}
_HEADERS = {
    "X-Depth-Unit": ("relative, metres or canonical", "relative"),
    "X-Depth-Scale": ("of image/png: depth is value * scale, 0 is invalid", "6.4e-05"),
    "X-Depth-Shape": ("height and width of the result", "336,504"),
    "X-Depth-Min": ("of valid depth", "0.61"),
    "X-Depth-Max": ("of valid depth", "4.2"),
    "X-Depth-Intrinsics": ("fx, fy, cx, cy in pixels of the result, if known", "431.2,431.4,252.0,168.0"),
    "X-Image-Size": ("width and height of the upright image", "3000,2000"),
    "X-Model": ("name of the model", "da3-base"),
    "X-Network-Ms": ("time in the network", "41.20"),
    "X-Queue-Ms": ("time until the image was begun", "3.10"),
    "X-Warnings": ("URL-encoded text, a warning a line, if there are any", "the%20focal%20length%20is%20unknown"),
}
_PROBLEMS = (
    Problem(400, "no-image", "the form has no file named image; send one part: name=image and a filename"),
    Problem(401, "no-token", "send the token of this server as Authorization: Bearer TOKEN"),
    Problem(403, "foreign-host", "Host 'evil.example' is not a name of this server"),
    Problem(404, "no-job", "no job 'dGhpcyBpcyBhbiBpZA'; results are kept for 600 s after their end"),
    Problem(406, "not-acceptable", f"Accept: text/html: give one of {', '.join(MEDIA_TYPES)}"),
    Problem(408, "slow-body", "the body did not arrive within 30 s; send it faster"),
    Problem(413, "too-many-pixels", "image: 40000x40000 pixels, more than 178,956,970", "ImageSizeError"),
    Problem(415, "not-an-image", "image: not an image; it looks like text", "ImageReadError"),
    Problem(422, "damaged-image", "image: truncated JPEG (1,204 of 88,310 bytes)", "ImageDecodeError"),
    Problem(501, "no-reload", "this server keeps the model that it started with; restart it"),
    busy(3, "64 requests wait already"),
    draining(),
    late(60),
)


def example_of(description: str, example: object) -> dict[str, Any]:
    """Describe an answer in JSON."""
    return {"description": description, "content": {"application/json": {"example": example}}}


def text_example(description: str, media_type: str, example: str) -> dict[str, Any]:
    """Describe an answer in text."""
    content = {media_type: {"schema": {"type": "string"}, "example": example}}
    return {"description": description, "content": content}


def problems(*statuses: int) -> Answers:
    """Describe errors by examples."""
    return {one.status: _described(one) for one in _PROBLEMS if one.status in statuses}


def job_problems() -> Answers:
    """Describe the errors of routes that name a job."""
    invalid = Problem(422, "invalid-request", "id: String should have at most 60 characters", "InvalidInputError")
    return {**problems(401, 403, 404), 422: _described(invalid)}


def _described(problem: Problem) -> dict[str, Any]:
    content = {PROBLEM_TYPE: {"schema": _PROBLEM, "example": json.loads(problem.body())}}
    return {"description": HTTPStatus(problem.status).phrase, "content": content}


def depth_bodies() -> Mapping[str, object]:
    """Describe the bodies that `POST /v1/depth` takes."""
    form = {
        "type": "object",
        "properties": {"image": {"type": "string", "format": "binary"}},
        "required": ["image"],
        "example": {"image": "the bytes of photo.jpg"},
    }
    return {
        "image/*": {**_BINARY, "example": "the bytes of photo.jpg"},
        "multipart/form-data": {"schema": form},
    }


def depth_answers() -> Answers:
    """Describe the answers of `POST /v1/depth`."""
    results = {kind: _BINARY for kind in MEDIA_TYPES if kind != "application/json"}
    headers = {
        name: {"description": text, "schema": {"type": "string"}, "example": example}
        for name, (text, example) in _HEADERS.items()
    }
    found = {
        "description": "The depth, in the format that Accept asks for.",
        "headers": headers,
        "content": {**results, "application/json": {"example": _SUMMARY}},
    }
    return {200: found, **problems(400, 401, 403, 406, 408, 413, 415, 422, 429, 503, 504)}
