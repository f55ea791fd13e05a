"""A record in a command's signature becomes one flag per field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from depth_anything_3.cli import app
from depth_anything_3.cli.flag_groups import Omit, flags_table, grouped
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.options import PreprocessOptions


@dataclass(frozen=True)
class Toy:
    length: int = field(default=3, metadata={"help": "How long it is."})
    on_error: OnError = field(default=OnError.RAISE, metadata={"help": "What to do."})
    quiet: bool = field(default=False, metadata={"help": "Say nothing."})
    colour: Annotated[str, typer.Option("--colour", help="Its colour.")] = "red"


@dataclass(frozen=True)
class Folder:
    folder: Annotated[str, typer.Option("--folder", "-o", help="Where.")] = "out"


TOY, OTHER = Toy(length=5), PreprocessOptions()


@pytest.fixture
def run():
    """Runs a command that takes two groups and returns its result and what the command got."""
    got = []

    @grouped
    def command(name: str, toy: Toy = TOY, other: Annotated[PreprocessOptions, Omit(("on_error",))] = OTHER) -> None:
        got.append((name, toy, other))

    toy_app = typer.Typer()
    toy_app.command()(command)
    return lambda *words: (CliRunner().invoke(toy_app, words), got)


def test_fields_become_flags_with_their_help_choices_and_defaults(run):
    result, _ = run("--help")
    text = " ".join(result.output.split())
    for part in ("--length", "How long it is.", "raise|skip", "--quiet", "--colour", "--process-res", "[default: 5]"):
        assert part in text
    assert "--no-quiet" not in text


def test_the_command_gets_records(run):
    result, got = run("x", "--quiet", "--on-error", "skip", "--process-res", "98")
    assert result.exit_code == 0, result.output
    ((name, toy, other),) = got
    assert (name, toy.length, toy.on_error, toy.quiet, toy.colour) == ("x", 5, "skip", True, "red")
    assert other == PreprocessOptions(process_res=98)


def test_a_short_flag_of_the_command_is_taken_from_its_groups():
    got = []

    @grouped
    def command(file: Annotated[str, typer.Option("--file", "-o", help="What.")] = "", *, folder: Folder) -> None:
        got.append((file, folder.folder))

    toy_app = typer.Typer()
    toy_app.command()(command)
    assert CliRunner().invoke(toy_app, ["-o", "a", "--folder", "b"]).exit_code == 0
    assert got == [("a", "b")]


def test_the_table_names_the_commands_that_take_each_field():
    commands = {one.name: one.callback for one in app.registered_commands}
    rows = {line.split("`")[1]: line for line in flags_table(PreprocessOptions, commands).splitlines()[2:]}
    assert rows["mixed_sizes"].endswith("| images, image, auto, colmap |")
    assert "| 504; da3-nano: 224 | int |" in rows["process_res"]
