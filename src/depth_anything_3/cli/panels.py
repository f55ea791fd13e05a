"""Print the help of a command: its flags in panels, then examples and a page of the documentation."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand, TyperGroup

from depth_anything_3.cli.examples import HELP
from depth_anything_3.cli.general import general_flags

__all__ = ["DEFAULT_PANEL", "PANELS", "PanelCommand", "PanelGroup", "panel_of"]

PANELS = ("Input", "Model", "Server", "Output", "Metric depth", "Views and 3D", "Performance", "Limits", "General")
"""The panels, in the order of the help."""

DEFAULT_PANEL = "Other"
"""The panel of flags that name none; printed last."""

MAX_HELP_WIDTH = 100

_MAX_FIRST_COLUMN = 30
_INDENT = "    "  # the width of "-o, "

# Any, below: contexts, parameters and formatters are click's, which some versions of typer bring as a private copy.


class PanelCommand(TyperCommand):
    """A command whose help has panels; it takes the general flags too."""

    def __init__(self, *args: Any, params: list[Any] | None = None, **settings: Any) -> None:
        super().__init__(*args, params=[*(params or []), *general_flags()], **settings)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the panels."""
        _write_panels(self.get_params(ctx), ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples and the page."""
        _write_examples(str(self.name), formatter)


class PanelGroup(TyperGroup):
    """The root command: its help lists the commands, then has panels."""

    def __init__(self, *, params: list[Any] | None = None, **settings: Any) -> None:
        super().__init__(params=[*(params or []), *general_flags()], **settings)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands and the panels."""
        self.format_commands(ctx, formatter)
        _write_panels(self.get_params(ctx), ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples and the page."""
        _write_examples("da3", formatter)


def panel_of(parameter: Any) -> str:
    """Return the panel of a command's parameter."""
    if parameter.param_type_name == "argument":
        return "Input"
    if parameter.name in ("help", "install_completion", "show_completion"):
        return "General"
    return getattr(parameter, "rich_help_panel", None) or DEFAULT_PANEL


def _write_panels(parameters: list[Any], ctx: Any, formatter: Any) -> None:
    panels: dict[str, list[tuple[str, str]]] = {name: [] for name in (*PANELS, DEFAULT_PANEL)}
    for one in parameters:
        record = one.get_help_record(ctx)
        if record is not None:  # it is not hidden
            panels.setdefault(panel_of(one), []).append(_row(one, *record))
    lengths = [len(name) for rows in panels.values() for name, _ in rows]
    column = max((one for one in lengths if one <= _MAX_FIRST_COLUMN), default=0)
    for title, rows in panels.items():
        if rows:
            with formatter.section(title):  # padded, so that the columns of all panels align
                formatter.write_dl([(name.ljust(column), text) for name, text in rows], col_max=column)


def _name(parameter: Any, written: str) -> str:
    """Name a parameter: `-o, --export-dir DIR`, `--[no-]show-cameras` or `SOURCE...`."""
    if parameter.param_type_name == "argument":
        return f"{parameter.metavar or parameter.name.upper()}{'...' if parameter.nargs != 1 else ''}"
    on, off = parameter.opts, parameter.secondary_opts
    if len(on) == len(off) == 1 and off[0] == f"--no-{on[0].removeprefix('--')}":
        written = f"--[no-]{on[0].removeprefix('--')}"
    return _INDENT + written if written.startswith("--") else written


def _row(parameter: Any, name: str, text: str) -> tuple[str, str]:
    """Make the two columns of a parameter; choices that are too long for the first stand in the second."""
    choices, name, text = parameter.metavar or "", _name(parameter, name), _meaning(parameter, text)
    if "|" not in choices or len(name) <= _MAX_FIRST_COLUMN:
        return name, text
    meaning, mark, default = text.partition("  [default: ")
    return name.removesuffix(choices) + "CHOICE", f"{meaning} One of {choices.replace('|', ', ')}.{mark}{default}"


def _meaning(parameter: Any, text: str) -> str:
    """Return the help text with the default: on or off of a pair of flags."""
    text = text.replace(r"\[", "[")  # typer 0.15 escapes it for rich
    if isinstance(parameter.show_default, str):  # typer adds parentheses
        text = text.replace(f"({parameter.show_default})", parameter.show_default)
    if parameter.secondary_opts:
        text = re.sub(r"\[default: (no-)?[^]]*\]", lambda found: f"[default: {'off' if found[1] else 'on'}]", text)
    return text.replace("[required]", "").replace("; required]", "]").strip()


def _write_examples(command: str, formatter: Any) -> None:
    if command not in HELP:
        return
    page, examples = HELP[command].page, HELP[command].examples
    with formatter.section("Examples"):
        for one in examples:
            formatter.write(f"{'':{formatter.current_indent}}{one}\n")
    formatter.write(f"\nDocumentation: {page}\n")
