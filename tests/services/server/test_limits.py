"""Back-pressure, deadlines, clients that go, faults of the network, and draining."""

from __future__ import annotations

import asyncio
import time

import pytest

from depth_anything_3.errors import DeviceError
from depth_anything_3.services.server.scheduler import Ticket
from support.serving import asking, depth_of, grey_engine, grey_jpeg

RES = {"process_res": 56}


@pytest.fixture
def engine():
    engine = grey_engine()
    yield engine
    engine.network.gate.set()


async def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


def post(client, level=100, **more):
    more = {"params": RES, "headers": {"Accept": "application/json"}, **more}
    return asyncio.ensure_future(client.post("/v1/depth", content=grey_jpeg(level), **more))


def test_a_full_server_refuses_at_once_and_says_when_to_come_again(engine):
    async def question(client):
        engine.network.gate.clear()
        accepted = [post(client) for _ in range(3)]
        await until(lambda: client.server.admission.requests == 3)
        began = time.monotonic()
        refused = await post(client)
        seconds = time.monotonic() - began
        engine.network.gate.set()
        return refused, seconds, await asyncio.gather(*accepted), await post(client)

    refused, seconds, accepted, after = asking(engine, question, max_requests=3)
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:da3:error:busy")
    assert 1 <= int(refused.headers["Retry-After"]) <= 120
    assert seconds < 1  # 50 ms on a machine of its own
    assert {one.status_code for one in (*accepted, after)} == {200}


@pytest.mark.parametrize("limit", ["max_queue_pixels", "max_queue_bytes"])
def test_pixels_and_bytes_of_accepted_requests_are_bounded(engine, limit):
    async def question(client):
        engine.network.gate.clear()
        first = post(client)
        await until(lambda: client.server.admission.requests == 1)
        second = await post(client)
        engine.network.gate.set()
        return second, await first, client.server.admission

    most = {"max_queue_pixels": 56 * 42 + 1, "max_queue_bytes": len(grey_jpeg(100)) + 1}[limit]
    second, first, admission = asking(engine, question, **{limit: most})
    assert (second.status_code, first.status_code) == (429, 200)
    assert (admission.requests, admission.pixels, admission.bytes) == (0, 0, 0)


def test_a_late_request_is_not_computed(engine):
    async def question(client):
        engine.network.gate.clear()
        asked = [post(client) for _ in range(12)]
        late = [await one for one in asked]
        engine.network.gate.set()
        await until(lambda: not client.server.scheduler.waiting)
        return late

    answers = asking(engine, question, deadline=0.3)
    assert {(one.status_code, one.json()["type"]) for one in answers} == {(504, "urn:da3:error:deadline")}
    assert len(engine.network.batches) < 12


def test_a_result_that_arrives_while_the_server_closes_is_kept():
    done, waiting, cancelled = (Ticket(None) for _ in range(3))
    done.finish(ValueError("its result"))
    cancelled.future.cancel()
    for one in (done, waiting, cancelled):
        one.fail(OSError("closing"))
    assert (str(done.future.exception()), str(waiting.future.exception())) == ("its result", "closing")
    assert cancelled.future.cancelled()


def test_what_a_client_that_has_gone_asked_for_is_dropped(engine):
    async def question(client):
        engine.network.gate.clear()
        kept = post(client)
        await until(lambda: client.server.admission.requests == 1 and not client.server.scheduler.waiting)
        begun = [post(client) for _ in range(4)]  # the engine is a round ahead
        await until(lambda: client.server.admission.requests == 5)
        scope = {"type": "http", "method": "POST", "path": "/v1/depth", "query_string": b"process_res=56"}
        scope |= {"headers": [(b"host", b"localhost")], "http_version": "1.1", "scheme": "http", "root_path": ""}
        messages = [{"type": "http.request", "body": grey_jpeg(1)}, {"type": "http.disconnect"}]
        sent = []

        async def receive():
            return messages.pop(0)

        async def send(message):
            sent.append(message)

        await client._transport.app(scope, receive, send)
        held = client.server.admission.requests
        engine.network.gate.set()
        await asyncio.gather(kept, *begun)
        return sent[0]["status"], held

    assert asking(engine, question) == (499, 5)


def test_a_slow_sender_gets_408_and_holds_nothing(engine):
    async def slowly():
        yield b"\x89PNG"
        await asyncio.sleep(20)

    async def question(client):
        answer = await client.post("/v1/depth", content=slowly())
        return answer, client.server.admission.bytes

    answer, held = asking(engine, question, read_timeout=0.05)
    assert (answer.status_code, answer.json()["type"], held) == (408, "urn:da3:error:slow-body", 0)


def test_memory_that_runs_out_halves_the_batch_and_harms_no_neighbour(engine):
    def short(x):
        if x.shape[0] > 1:
            raise MemoryError

    engine.network.fault = short

    async def question(client):
        return await asyncio.gather(*(post(client, level) for level in range(10, 90, 10)))

    for level, answer in zip(range(10, 90, 10), asking(engine, question, batch_size="8", batch_wait=50), strict=True):
        assert answer.status_code == 200
        assert answer.json()["min"] == pytest.approx(depth_of(level), abs=0.02)


def test_an_image_for_which_there_is_no_memory_at_all_fails_alone(engine):
    def short(x):
        if x.shape[-1] > 60:
            raise MemoryError

    engine.network.fault = short

    async def question(client):
        return await asyncio.gather(post(client), post(client, params={"process_res": 84}), post(client))

    first, large, last = asking(engine, question)
    assert (first.status_code, last.status_code) == (200, 200)
    assert (large.status_code, large.json()["type"]) == (503, "urn:da3:error:out-of-memory")


def test_an_error_nobody_expected_fails_the_request_that_causes_it_only(engine):
    dark = depth_of(0) + 0.1 - 10

    def broken(x):
        if (x.float().mean(dim=(1, 2, 3, 4)) < dark).any():
            raise RuntimeError("secret /home/someone/file")

    async def question(client):
        engine.network.fault = broken
        levels = (200, 100, 0, 150, 90)
        first = await asyncio.gather(*(post(client, level) for level in levels))
        return [*first, await post(client, 120)]

    answers = asking(engine, question, batch_size="4", batch_wait=50)
    assert [one.status_code for one in answers] == [200, 200, 500, 200, 200, 200]
    assert (answers[2].json()["type"], "secret" in answers[2].text) == ("urn:da3:error:internal", False)


def test_a_failed_device_makes_the_server_unready(engine):
    def lost(x):
        raise DeviceError("cpu: the device failed")

    async def question(client):
        engine.network.fault = lost
        first = await post(client)
        return first, await post(client), await client.get("/readyz"), await client.get("/healthz")

    answers = asking(engine, question)
    assert [one.status_code for one in answers] == [503, 503, 503, 200]
    assert answers[0].json()["error"] == "DeviceError"


def test_a_draining_server_finishes_what_it_accepted_and_refuses_the_rest(engine):
    async def question(client):
        engine.network.gate.clear()
        accepted = [post(client) for _ in range(6)]
        await until(lambda: client.server.admission.requests == 6)
        client.server.drain()
        refused, ready = await post(client), await client.get("/readyz")
        engine.network.gate.set()
        return refused, ready, await asyncio.gather(*accepted)

    refused, ready, accepted = asking(engine, question)
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:da3:error:draining")
    assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
    assert {one.status_code for one in accepted} == {200}


def test_metrics_count_requests_images_and_stages(engine):
    async def question(client):
        await asyncio.gather(*(post(client) for _ in range(3)))
        await client.get("/v1/nothing")
        return await client.get("/metrics")

    text = asking(engine, question).text
    for line in (
        'da3_requests_total{route="/v1/depth",status="200"} 3.0',
        'da3_requests_total{route="other",status="404"} 1.0',
        'da3_stage_seconds_count{stage="queue"} 3.0',
        'da3_stage_seconds_count{stage="network"} 3.0',
        'da3_images_total{strategy="cpu"} 3.0',
        "da3_requests_in_progress 0.0",
        "da3_ready 1.0",
    ):
        assert line in text
