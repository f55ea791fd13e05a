"""The command's messages name options where Python's name arguments."""

from __future__ import annotations

import pytest
import typer

from depth_anything_3 import cli
from depth_anything_3.cli import messages as flags
from depth_anything_3.cli.messages import in_flags


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("infer_gs=True with x; pass on_error='skip'", "--infer-gs with x; pass --on-error skip"),
        ("raise max_pixels, or process_res.", "raise --max-pixels, or --process-res."),
        ("on_error='' or on_error='a b' is unknown", "--on-error='' or --on-error='a b' is unknown"),
        ("strategy='a' or the best strategy", "--strategy a or the best strategy"),
        ("dtype=torch.float64 is not accepted", "--dtype torch.float64 is not accepted"),
        ("/my/batch_size.jpg: bad; x/max_pixels/y and my_process_res", None),
    ],
)
def test_a_message_speaks_of_options(message, told):
    assert in_flags(message) == (told or message)


def test_every_option_that_messages_speak_of_is_one():
    commands = typer.main.get_command(cli.app).commands.values()
    options = {one for command in commands for parameter in command.params for one in parameter.opts}
    assert set(flags._FLAGS.values()) <= options
