"""`/openapi.json` describes every route, with examples that hold."""

from __future__ import annotations

import json
import re

import pytest
from fastapi.openapi.models import OpenAPI
from fastapi.routing import APIRoute

from depth_anything_3 import errors
from depth_anything_3.services.server.app import create_app
from depth_anything_3.services.server.depth_route import DepthQuery
from depth_anything_3.services.server.results import MEDIA_TYPES
from depth_anything_3.services.server.settings import ServerSettings
from support.serving import asking, grey_engine, grey_jpeg

TEXTS = ("application/json", "application/problem+json", "text/plain")


@pytest.fixture(scope="module")
def app():
    return create_app(grey_engine(), ServerSettings(upstream=True))


@pytest.fixture(scope="module")
def document(app):
    return json.loads(json.dumps(app.openapi()))


def operations(document):
    return {
        (method.upper(), path): found
        for path, methods in document["paths"].items()
        for method, found in methods.items()
    }


def api_routes(router):
    """Routes of a router, and of those that it includes."""
    for one in router.routes:
        if isinstance(one, APIRoute):
            yield one
        elif hasattr(one, "original_router"):
            yield from api_routes(one.original_router)


def test_the_document_is_valid_and_lists_every_route(app, document):
    assert document["openapi"].startswith("3.1")
    OpenAPI.model_validate(document)
    routes = {
        (method, re.sub(r":\w+}", "}", route.path))
        for route in api_routes(app)
        if route.include_in_schema
        for method in route.methods
    }
    assert set(operations(document)) == routes
    assert ("POST", "/v1/depth") in routes


def test_every_route_has_a_summary_and_every_answer_in_json_or_text_an_example(document):
    missing = []
    for (method, path), operation in operations(document).items():
        assert operation["summary"], path
        for status, answer in operation["responses"].items():
            for kind, content in answer.get("content", {}).items():
                if kind in TEXTS and "example" not in content:
                    missing.append((method, path, status, kind))
    assert missing == []


def test_the_depth_route_names_all_formats_parameters_and_errors(document):
    operation = operations(document)["POST", "/v1/depth"]
    assert set(operation["responses"]["200"]["content"]) == set(MEDIA_TYPES)
    assert {one["name"] for one in operation["parameters"]} == set(DepthQuery.__dataclass_fields__)
    for status, answer in operation["responses"].items():
        if status != "200":
            example = answer["content"]["application/problem+json"]["example"]
            assert example["status"] == int(status)
            assert example["type"].startswith("urn:da3:error:")
            assert hasattr(errors, example.get("error", "DA3Error"))


def test_the_examples_have_the_names_that_real_answers_have(document):
    async def question(client):
        return await client.post(
            "/v1/depth",
            content=grey_jpeg(100),
            params={"process_res": 56, "focal": 60, **examples},
            headers={"Accept": "application/json"},
        ), await client.post("/v1/depth", content=grey_jpeg(100), params={"process_res": 56})

    operation = operations(document)["POST", "/v1/depth"]
    examples = {one["name"]: one["schema"]["examples"][0] for one in operation["parameters"]}
    described = operation["responses"]["200"]
    summary, png = asking(grey_engine("da3metric-large"), question)
    assert summary.status_code == 200, summary.text
    assert set(summary.json()) == set(described["content"]["application/json"]["example"])
    assert set(summary.json()["intrinsics"]) == {"fx", "fy", "cx", "cy"}
    known = {name.lower() for name in described["headers"]}
    for answer in (summary, png):
        assert {name for name in answer.headers if re.match(r"x-(?!content|frame)", name)} <= known
    assert {name for one in (summary, png) for name in one.headers} >= known
