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
        ("on_error='' or on_error='a b' is unknown", "--on-error '' or --on-error 'a b' is unknown"),
        ("strategy='a' or the best strategy", "--strategy a or the best strategy"),
        ("dtype=torch.float64 is not accepted", "--dtype torch.float64 is not accepted"),
        ("pass export_feat_layers=[5, 11], for example", "pass --export-feat 5,11, for example"),
        ("end=0.5 is not after start=1e-05", "--end 0.5 is not after --start 1e-05"),
        ('raw="it\'s" is unknown', "--raw 'it'\"'\"'s' is unknown"),
        ("omit show_cameras=False", "omit --no-show-cameras"),
        ("pass focal= (pixels) or fov= (degrees)", "pass --focal (pixels) or --fov (degrees)"),
        ("use `depth()`; or `model.compile()`", "use da3 images; or --compile"),
        ("a=b.jpg: bad; c=d.jpg: bad", None),
        ("/my/batch_size.jpg: bad; x/max_pixels/y and my_process_res", None),
        ("http://camera/?fps=30&every=2: cannot be opened", None),
    ],
)
def test_arguments_become_flags(message, expected):
    assert in_flags(message, FLAGS) == (expected or message)


def test_the_table_has_exactly_the_flags_of_the_commands():
    commands = typer.main.get_command(cli.app).commands.values()
    options = [one for command in commands for one in command.params if one.param_type_name == "option"]
    general = {"help", "quiet", "verbose", "debug"}
    names = {one.name: one.opts[0] for one in options if one.name not in general}
    aliases = {
        "export_feat_layers": "--export-feat",
        "extensions": "--image-extensions",
        "pretrained_model_name_or_path": "--model-dir",
    }
    python_only = {"extrinsics": None, "token": None, "window": None, "intrinsics": "--metric with da3metric-large"}
    assert {**names, **aliases, **python_only} == FLAGS


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("bad. Copy it again. To skip it, pass on_error='skip'", "bad. Copy it again."),
        ("a clause; or pass token=; or another", "a clause; or another"),
        ("a clause; pass token=; or another", "a clause; another"),
        ("too large; if you trust the file, raise max_pixels", "too large; if you trust the file, raise --max-pixels"),
        ("on_error='x' is unknown; choose", "on_error='x' is unknown; choose"),
    ],
)
def test_hints_about_flags_that_a_command_lacks_are_dropped(message, expected):
    assert in_flags(message, flags_of([colmap])) == expected


def test_without_flags_a_message_stays_as_it_is():
    assert in_flags("pass on_error='skip'", {}) == "pass on_error='skip'"
