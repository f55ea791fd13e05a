"""Whether the hub can be reached is asked once, beside other work, or not at all."""

from __future__ import annotations

import threading

import pytest

from depth_anything_3.diagnostics.hub_answer import MAX_WAIT_SECONDS, HubAnswer, HubQuestion, constants, without_login

HUB = "http://hub.test"


@pytest.fixture(autouse=True)
def online(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", HUB)


@pytest.mark.parametrize(
    ("problem", "answer"),
    [
        (None, HubAnswer(HUB, True)),
        (f"{HUB}: HTTP status 502", HubAnswer(HUB, False, "HTTP status 502")),
        (f"no answer from {HUB} within 3 s", HubAnswer(HUB, False, f"no answer from {HUB} within 3 s")),
    ],
)
def test_the_hub_is_reachable_or_there_is_a_reason(problem, answer):
    waits = []
    assert HubQuestion(why_unreachable=lambda seconds: waits.append(seconds) or problem).answer() == answer
    assert waits == [MAX_WAIT_SECONDS]


def test_other_work_does_not_wait_for_the_hub():
    done = threading.Event()
    question = HubQuestion(why_unreachable=lambda _: None if done.wait(60) else "nothing else was done")
    done.set()
    assert question.answer() == HubAnswer(HUB, True)


@pytest.mark.parametrize(
    ("why_not", "offline", "reason"),
    [("--offline", False, "--offline"), (None, True, "HF_HUB_OFFLINE is set")],
)
def test_offline_the_hub_is_not_asked(monkeypatch, why_not, offline, reason):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    question = HubQuestion(why_not, why_unreachable=lambda _: pytest.fail("the hub was asked"))
    assert question.answer() == HubAnswer(HUB, None, reason)


def test_a_login_in_the_address_is_not_shown(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "https://me:secret@hub.test")
    found = HubQuestion(why_unreachable=lambda _: "https://me:secret@hub.test: refused").answer()
    assert found == HubAnswer("https://***@hub.test", False, "refused")
    assert without_login("https://hub.test/a@b") == "https://hub.test/a@b"
