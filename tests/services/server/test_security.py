"""Who may ask: Host, Origin, token; what answers say to browsers."""

from __future__ import annotations

import asyncio

import pytest

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.services.server.early_answers import EarlyAnswers
from depth_anything_3.services.server.run import check_settings
from depth_anything_3.services.server.settings import ServerSettings
from support.serving import asking, grey_engine, grey_jpeg

TOKEN = "0123456789abcdef-token"
OPEN = ("/", "/static/app.js", "/healthz")
CLOSED = ("/v1/models", "/readyz", "/metrics", "/openapi.json", "/v1/depth", "/static", "/nothing")


def statuses(headers, paths=("/v1/models",), **settings):
    async def question(client):
        return [(await client.get(path, headers=headers)).status_code for path in paths]

    return asking(grey_engine(), question, **settings)


@pytest.mark.parametrize(
    ("host", "settings", "status"),
    [
        ("localhost", {}, 200),
        ("127.0.0.1:8008", {}, 200),
        ("[::1]:8008", {}, 200),
        ("LOCALHOST.", {}, 200),
        ("evil.example", {}, 403),
        ("localhost.evil.example", {}, 403),
        ("127.0.0.1.evil.example", {}, 403),
        ("192.168.1.7", {}, 403),
        ("", {}, 403),
        ("[", {}, 403),
        ("evil.example", {"host": "0.0.0.0"}, 403),
        ("192.168.1.7:8008", {"host": "0.0.0.0"}, 200),
        ("depth.example", {"allow_hosts": "a.example, Depth.example"}, 200),
    ],
)
def test_only_known_hosts_are_answered(host, settings, status):
    assert statuses({"Host": host}, **settings) == [status]


@pytest.mark.parametrize(
    ("origin", "settings", "status"),
    [
        ("http://localhost:8008", {}, 200),
        ("https://localhost:8008", {}, 200),
        ("http://localhost:9000", {}, 403),
        ("https://evil.example", {}, 403),
        ("null", {}, 403),
        ("https://page.example", {"allow_origins": "https://page.example/"}, 200),
    ],
)
def test_pages_of_other_origins_may_not_ask(origin, settings, status):
    assert statuses({"Origin": origin}, **settings) == [status]


def test_with_a_token_only_the_page_and_the_sign_of_life_are_open():
    open_without = statuses({}, OPEN, token=TOKEN)
    assert 401 not in open_without
    assert statuses({}, CLOSED, token=TOKEN) == [401] * len(CLOSED)
    for wrong in (f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ", "Bearer é", TOKEN, f"Basic {TOKEN}"):
        assert statuses({"Authorization": wrong.encode()}, token=TOKEN) == [401]
    assert statuses({"Authorization": f"bearer {TOKEN}"}, token=TOKEN) == [200]


def test_answers_protect_the_page_and_do_not_allow_other_origins():
    async def question(client):
        image = await client.post("/v1/depth", content=grey_jpeg(10), params={"process_res": 28})
        return [image, await client.get("/nothing"), await client.options("/v1/depth")]

    for answer in asking(grey_engine(), question):
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_browsers_keep_the_page_and_ask_whether_it_has_changed():
    async def question(client):
        found = [await client.get(path) for path in ("/", "/static/index.html")]
        known = {"If-None-Match": found[1].headers["etag"]}
        return [*found, await client.get("/static/index.html", headers=known)]

    answers = asking(grey_engine(), question)
    assert [one.status_code for one in answers] == [200, 200, 304]
    assert {one.headers["cache-control"] for one in answers} == {"no-cache"}


@pytest.mark.parametrize("name", ["read_timeout", "stream_idle", "job_lifetime"])
def test_no_time_at_all_is_refused(name):
    with pytest.raises(InvalidInputError, match=f"{name}=0.0: give a number of seconds above 0"):
        ServerSettings(**{name: 0.0})


@pytest.mark.parametrize("path", ["/static/../server/app.py", "/static/%2e%2e/server/app.py", "/static//etc/passwd"])
def test_only_files_of_the_page_are_served(path):
    assert statuses({}, [path]) == [404]


def test_a_claimed_length_is_refused_before_the_body_is_read():
    async def question(client):
        async def empty():
            yield b""

        answers = []
        for length in ("1000", "9" * 30, "many", "-1"):
            answers.append(await client.post("/v1/depth", content=empty(), headers={"Content-Length": length}))
        return [one.status_code for one in answers]

    assert asking(grey_engine(), question, max_body_bytes=999) == [413, 413, 400, 400]


def test_after_an_early_answer_the_body_is_discarded_before_the_connection_is_closed():
    events = []

    async def refuse(scope, receive, send):
        await send({"type": "http.response.start", "status": 413, "headers": []})
        await send({"type": "http.response.body", "body": b"too large"})

    async def receive():
        events.append("read")
        return {"type": "http.request", "body": bytes(10), "more_body": True}

    async def send(message):
        events.append((message.get("body"), message.get("more_body", False)))

    scope = {"type": "http", "headers": [(b"content-length", b"1000")]}
    asyncio.run(EarlyAnswers(refuse, 30)(scope, receive, send))
    assert events == [(None, False), (b"too large", True), "read", "read", "read", (b"", False)]


@pytest.mark.parametrize(
    ("given", "without_token", "part"),
    [
        ({"host": "0.0.0.0"}, False, "pass a token"),
        ({"host": "192.168.0.2"}, False, "pass a token"),
        ({"token": TOKEN}, True, "contradict"),
    ],
)
def test_an_address_for_others_demands_a_token_or_a_word(given, without_token, part):
    with pytest.raises(InvalidInputError, match=part):
        check_settings(ServerSettings(**given), without_token=without_token)
    check_settings(ServerSettings(host="0.0.0.0", token=TOKEN))
    check_settings(ServerSettings(host="0.0.0.0"), without_token=True)
    check_settings(ServerSettings())


@pytest.mark.parametrize(
    "given",
    [
        {"token": "short"},
        {"token": "with a space in it, too"},
        {"port": 70000},
        {"deadline": -1.0},
        {"max_requests": 0},
        {"batch_size": "many"},
        {"allow_origins": "page.example"},
    ],
)
def test_settings_are_checked(given):
    with pytest.raises(InvalidInputError):
        ServerSettings(**given)


def test_models_describes_the_model_and_the_limits():
    async def question(client):
        return (await client.get("/v1/models")).json()

    found = asking(grey_engine("da3metric-large"), question, max_requests=5)
    assert (found["model"], found["licence"], found["depth_unit"]) == ("da3metric-large", "Apache-2.0", "canonical")
    assert (found["process_res"], found["has_cameras"], found["limits"]["requests"]) == (504, False, 5)
    assert found["formats"][0] == "image/png"
