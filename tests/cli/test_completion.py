"""Completion of commands, flags and values in a shell."""

from __future__ import annotations

import pytest

from depth_anything_3.cli.completion import complete_choices
from support.command import DONE

WORDS = [
    pytest.param("da3 vi", ["video"], id="commands"),
    pytest.param("da3 --ver", ["--version", "--verbose"], id="flags of the root"),
    pytest.param("da3 images --export", ["--export-dir", "--export-format", "--export-feat"], id="flags"),
    pytest.param("da3 images --device c", ["cpu", "cuda"], id="choices"),
    pytest.param("da3 images --fidelity ", ["exact", "high", "fast"], id="choices of an enum"),
    pytest.param("da3 images -f npz-gs", ["npz-gs_ply", "npz-gs_video"], id="the last of joined formats"),
    pytest.param("da3 images -f npz-np", [], id="a format that is there"),
    pytest.param("da3 video -f mp", ["mp4"], id="formats of the command"),
    pytest.param("da3 export -f m", ["mini_npz"], id="formats of the other command"),
    pytest.param("da3 images --model-dir da3-n", ["da3-nano"], id="models"),
    pytest.param("da3 images photos/", [], id="files, which the shell completes"),
]


@pytest.mark.parametrize(("words", "expected"), WORDS)
def test_bash_gets(da3, monkeypatch, words, expected):
    monkeypatch.setenv("_DA3_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    run = da3()
    assert (run.code, run.out.split(), run.err) == (DONE, expected, "")


@pytest.mark.parametrize(
    ("shell", "expected"),
    [("zsh", '"video":"Compute depth of a video."'), ("fish", "video\tCompute depth of a video.")],
    ids=["zsh", "fish"],
)
def test_other_shells_get_the_help_too(da3, monkeypatch, shell, expected):
    monkeypatch.setenv("_DA3_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "da3 vi")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    assert expected in da3().out


@pytest.mark.parametrize(
    ("metavar", "choices"),
    [
        ("auto|cpu|cuda|cuda:1", ["auto", "cpu", "cuda"]),
        ("N|all|auto", ["all", "auto"]),
        ("FILE", None),
        ("[HOST:]PORT", None),
    ],
)
def test_choices_are_the_words_of_the_placeholder(metavar, choices):
    complete = complete_choices(metavar)
    assert (complete and complete("")) == choices
