"""`da3 serve`: what it refuses before a network is loaded."""

from __future__ import annotations

import pytest

from support.command import FAILURES, MISUSE


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    monkeypatch.delenv("DA3_TOKEN", raising=False)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--host", "0.0.0.0"], "pass a token, or --insecure-no-token"),
        (["--token", "short"], "the token has 5 characters"),
        (["--token", "x" * 20, "--insecure-no-token"], "contradict each other"),
        (["--token", "x" * 20, "--token-file", "token.txt"], "both given"),
        (["--max-requests", "0"], "--max-requests 0"),
        (["--port", "99999"], "--port 99999"),
    ],
)
def test_misuse(da3, words, part):
    run = da3("serve", *words)
    assert run.code == MISUSE
    assert part in run.err


def test_the_token_comes_from_a_file_or_the_environment(da3, tmp_path, monkeypatch):
    empty, missing = tmp_path / "empty", tmp_path / "missing"
    empty.write_text("\n")
    assert "its first line is empty" in da3("serve", "--token-file", empty).err
    run = da3("serve", "--token-file", missing)
    assert (run.code, "missing: the token cannot be read" in run.err) == (FAILURES, True)
    monkeypatch.setenv("DA3_TOKEN", "tiny")
    assert "the token has 4 characters" in da3("serve").err


def test_without_the_extra_the_error_says_how_to_install_it(da3, monkeypatch):
    from depth_anything_3.services.server import run as server_run

    monkeypatch.setattr(server_run.importlib.util, "find_spec", lambda name: None if name == "uvicorn" else object())
    run = da3("serve")
    assert run.code == MISUSE
    assert "the server needs uvicorn; run pip install '.[serve]'" in run.err
