"""The help of each command: panels, choices, examples."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from depth_anything_3.cli import app
from depth_anything_3.cli.examples import HELP
from depth_anything_3.cli.panels import DEFAULT_PANEL, PANELS, panel_of
from support.command import DONE

COMMANDS = typer.main.get_command(app).commands
ROOT = Path(__file__).parents[2]
HEADINGS = re.compile(r"^(\w[\w ]*):$", re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_visible_flag_has_a_panel(name):
    without = [one.name for one in COMMANDS[name].params if not one.hidden and panel_of(one) not in PANELS]
    assert without == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_command_lines_and_the_page_exists(name):
    page, examples = HELP[name].page, HELP[name].examples
    assert (ROOT / page).is_file()
    for example in (*examples, *HELP["da3"].examples):
        da3, command, *arguments = shlex.split(example)
        assert (da3, command in COMMANDS) == ("da3", True)
        COMMANDS[command].make_context(command, arguments)
    assert all(example.split()[1] == name for example in examples)


def test_the_help_of_images(da3, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    run = da3("images", "--help")
    assert run.code == DONE
    assert "\x1b" not in run.out
    assert HEADINGS.findall(run.out) == [*(one for one in PANELS if one != "Server"), "Examples"]
    assert max(map(len, run.out.splitlines())) <= 90
    flags = [line for line in run.out.splitlines() if re.match(r"  (-\w,|   ) --\S+( [A-Z]+)?  ", line)]
    assert len({len(re.match(r"  (?:-\w,|   ) --\S+(?: [A-Z]+)?  +", line)[0]) for line in flags}) == 1  # one column
    text = " ".join(run.out.split())
    for part in (
        "-o, --export-dir DIR",
        "--exif apply|ignore Apply",
        "[default: 504; da3-nano: 224]",
        "--device CHOICE Device that runs the network. One of auto, cpu, cuda, cuda:1, mps. [default: auto]",
        "--[no-]show-cameras Draw the cameras (glb). [default: on]",
        "-q, --quiet",
        "da3 images photos/ -o out --resume",
        "Documentation: docs/quickstart.md",
    ):
        assert part in text
    assert "<" not in run.out  # no names of types


def test_the_root_lists_commands_first(da3):
    assert HEADINGS.findall(da3("--help").out) == ["Commands", "General", "Examples"]


def test_a_flag_that_names_no_panel_is_listed_last():
    def command(new: int = 1) -> None: ...

    holder = typer.Typer()
    holder.command()(command)
    (flag, *_) = typer.main.get_command(holder).params
    assert panel_of(flag) == DEFAULT_PANEL


@pytest.mark.parametrize(
    ("words", "near"), [(["imags"], "'images'"), (["images", "a", "--proces-res", "5"], "--process-res")], ids=str
)
def test_a_mistyped_word_gets_the_near_one(da3, words, near):
    run = da3(*words)
    assert near in run.err.splitlines()[-1]
