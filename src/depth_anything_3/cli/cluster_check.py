"""Check the nodes of a Ray cluster, for `da3 doctor --cluster`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from depth_anything_3.cli.console import EXIT_FAILURES, stderr, stdout

if TYPE_CHECKING:
    from rich.table import Table

    from depth_anything_3.diagnostics.cluster import ClusterCheck

__all__ = ["check_nodes", "cluster_table"]


def check_nodes(address: str, model: str, as_json: bool) -> None:
    """Examine the nodes of a cluster, and print a table.

    Raises:
        typer.Exit: a node has a problem.
        UnsupportedError, InvalidInputError: see `connected`.
    """
    with stderr.status("examining the nodes"):
        from depth_anything_3.diagnostics.cluster import check_cluster
        from depth_anything_3.runtime.ray_cluster import connected

        with connected(address) as cluster:
            check = check_cluster(cluster, model)
    if as_json:
        stdout.print_json(json.dumps(check.as_dict()))
    else:
        stdout.print(cluster_table(check), soft_wrap=False)
        for one in check.nodes:
            for problem in one.problems:
                stdout.print(f"{one.node.name}: {problem}", markup=False)
        count = f"{len(check.nodes)} node(s)"
        stdout.print(
            f"{count} agree, and find {model}" if check.ok else f"{count}: see the problems above", markup=False
        )
    if not check.ok:
        raise typer.Exit(EXIT_FAILURES)


def cluster_table(check: ClusterCheck) -> Table:
    """Draw the nodes: a row each."""
    from rich.table import Table

    table = Table(title="Nodes")
    for name in ("node", "CPUs", "GPUs", "python", "depth_anything_3", "torch", "numpy", "weights"):
        table.add_column(name)
    for one in check.nodes:
        facts = one.facts
        versions = facts.versions if facts else {}
        gpus = ", ".join(facts.gpus) if facts else ""
        weights = "?" if facts is None else "missing" if facts.weights_problem else "found"
        shown = (versions.get(name, "?") for name in ("python", "depth_anything_3", "torch", "numpy"))
        table.add_row(one.node.name, f"{one.node.cpus:g}", f"{one.node.gpus:g} {gpus}".strip(), *shown, weights)
    return table
