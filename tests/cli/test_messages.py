"""The command's messages name flags where those of the Python API name arguments."""

from __future__ import annotations

import pytest
import typer

from depth_anything_3 import cli
from depth_anything_3.cli.colmap import colmap
from depth_anything_3.cli.messages import flags_of, in_flags

FLAGS = flags_of(one.callback for one in cli.app.registered_commands)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("infer_gs=True with x; pass on_error='skip'", "--infer-gs with x; pass --on-error skip"),
        ("raise max_pixels, or process_res.", "raise --max-pixels, or --process-res."),
        ("on_error='' or on_error='a b' is unknown", "--on-error='' or --on-error='a b' is unknown"),
        ("strategy='a' or the best strategy", "--strategy a or the best strategy"),
        ("dtype=torch.float64 is not accepted", "--dtype torch.float64 is not accepted"),
        ("pass export_feat_layers, such as [11]", "pass --export-feat, such as [11]"),
        ("/my/batch_size.jpg: bad; x/max_pixels/y and my_process_res", None),
        ("http://camera/?fps=30&every=2: cannot be opened", None),
    ],
)
def test_arguments_become_flags(message, expected):
    assert in_flags(message, FLAGS) == (expected or message)


def test_the_table_has_exactly_the_flags_of_the_commands():
    commands = typer.main.get_command(cli.app).commands.values()
    options = [one for command in commands for one in command.params if one.param_type_name == "option"]
    assert set(FLAGS.values()) == {one.opts[0] for one in options} - {"--help"}
    names = {one.name: one.opts[0] for one in options if one.opts[0] != "--help"}
    assert {**names, "export_feat_layers": "--export-feat"} == FLAGS


def test_a_command_names_only_flags_that_it_has():
    assert in_flags("raise max_pixels or pass on_error='skip'", flags_of([colmap])) == (
        "raise --max-pixels or pass on_error='skip'"
    )


def test_without_flags_a_message_stays_as_it_is():
    assert in_flags("pass on_error='skip'", {}) == "pass on_error='skip'"
