"""Format the environment as lines and tables for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from depth_anything_3.diagnostics.environment import Environment
from depth_anything_3.diagnostics.hub_answer import HubAnswer
from depth_anything_3.runtime.disk import DiskSpace
from depth_anything_3.runtime.extras import ExtraState
from depth_anything_3.runtime.memory import MainMemory

__all__ = [
    "checkpoints_table",
    "environment_lines",
    "extras_table",
    "gibibytes",
    "memory_text",
    "plain_table",
    "titled",
    "variables_table",
]


def plain_table() -> Table:
    """Return an empty table with a line below its header only."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)


def titled(title: str, table: Table) -> tuple[Text, Table]:
    """Put a title above a table; rich's own title would wrap at the table's width."""
    return Text(f"\n{title}", style="bold"), table


def gibibytes(count: int) -> str:
    """Format a size of memory."""
    return f"{count / 2**30:.1f} GiB"


def memory_text(memory: MainMemory) -> str:
    """Format the main memory."""
    if memory.total_bytes is None:
        return "unknown"
    text = gibibytes(memory.total_bytes)
    if memory.free_bytes is not None:
        text += f", {gibibytes(memory.free_bytes)} free"
    if memory.limit_bytes is not None and memory.limit_free_bytes is not None:
        text += f"; limited to {gibibytes(memory.limit_bytes)}, {gibibytes(memory.limit_free_bytes)} free"
    return text


def environment_lines(environment: Environment) -> Iterator[tuple[str, str]]:
    """Yield names and markup of the hub and the disks."""
    yield "hub", _hub(environment.hub)
    yield "hub's cache", _disk(environment.hub_disk)
    yield "own cache", _disk(environment.cache_disk)


def extras_table(extras: Sequence[ExtraState]) -> Table:
    """Format what is installed of each extra; a missing one has the line that installs it from the source's folder."""
    table = plain_table()
    table.add_column("extra", no_wrap=True)
    table.add_column("installed", overflow="fold")
    table.add_column("purpose", overflow="fold")
    for one in extras:
        versions = ",\n".join(f"{name} {version}" for name, version in one.versions.items() if version)
        if one.problem is None:
            state = escape(versions)
        elif one.unsupported_reason is not None:
            state = f"[dim]{escape(one.unsupported_reason)}[/]"
        elif not versions:
            state = f"[dim]no:[/] {escape(one.install)}"
        else:
            state = f"[yellow]{escape(one.problem)}: {escape(one.install)}[/]"
        table.add_row(one.extra.name, state, one.extra.purpose)
    return table


def checkpoints_table(environment: Environment) -> Table:
    """Format the checkpoints in the package and in the hub's cache."""
    table = plain_table()
    table.add_column("model", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("state", overflow="fold")
    for bundled in environment.bundled:
        table.add_row(bundled.preset, _size(bundled.stored_bytes), _state(bundled.problem, "in the package"))
    for one in environment.cached:
        size = _size(one.stored_bytes)
        if one.problem is not None:
            size += f" of {_size(one.file_bytes)}"
        table.add_row(escape(one.hub_id), size, _state(one.problem, "complete"))
    if not environment.cached:
        table.add_row("[dim]none in the hub's cache[/]", "", "")
    return table


def variables_table(variables: Mapping[str, str]) -> Table:
    """Format environment variables."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in variables.items():
        table.add_row(escape(name), escape("".join(one if one.isprintable() else repr(one)[1:-1] for one in value)))
    return table


def _hub(hub: HubAnswer) -> str:
    if hub.reachable:
        return escape(f"{hub.endpoint} is reachable")
    if hub.reachable is None:
        return escape(f"{hub.endpoint} was not asked ({hub.reason})")
    return f"[yellow]{escape(f'{hub.endpoint} is not reachable ({hub.reason})')}[/]"


def _disk(disk: DiskSpace) -> str:
    free = "unknown" if disk.free_bytes is None else f"{disk.free_bytes / 1e9:.1f} GB free"
    return escape(f"{disk.folder}, {free}") + ("" if disk.writable else ", [yellow]not writable[/]")


def _size(count: int) -> str:
    """Format the size of a file."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _state(problem: str | None, complete: str) -> str:
    return f"[green]{complete}[/]" if problem is None else f"[red]{escape(problem)}[/]"
