"""Compare the nodes of a Ray cluster: versions, GPUs, and whether each finds the weights."""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from depth_anything_3.errors import CheckpointError
from depth_anything_3.runtime.ray_cluster import Cluster, Node
from depth_anything_3.runtime.version import __version__

__all__ = ["ClusterCheck", "NodeCheck", "NodeFacts", "check_cluster", "compared", "node_facts"]

_COMPARED = ("numpy", "torch", "ray", "pyarrow")


@dataclass(frozen=True)
class NodeFacts:
    """What a node says of itself.

    Attributes:
        versions: of Python, this package and those that results or their transport depend on; "missing" if so.
        gpus: names of the GPUs that torch sees there.
        weights_problem: why the weights cannot be had there; None: they can.
    """

    versions: dict[str, str]
    gpus: tuple[str, ...]
    weights_problem: str | None


def node_facts(model: str) -> NodeFacts:
    """Examine this machine. Nothing is downloaded but a few bytes, if the weights are not in the hub's cache.

    Args:
        model: as of `--model-dir`.
    """
    import torch

    versions = {"python": platform.python_version(), "depth_anything_3": __version__}
    for name in _COMPARED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "missing"
    gpus = tuple(torch.cuda.get_device_name(one) for one in range(torch.cuda.device_count()))
    return NodeFacts(versions, gpus, _weights_problem(model))


def _weights_problem(model: str) -> str | None:
    from depth_anything_3.diagnostics.hub_answer import HubQuestion
    from depth_anything_3.model.checkpoint import find_checkpoint

    try:
        find_checkpoint(model, local_files_only=True)
    except CheckpointError as error:
        answer = HubQuestion().answer()
        return None if answer.reachable else f"{error}; the hub: {answer.reason}"
    return None


@dataclass(frozen=True)
class NodeCheck:
    """What is wrong with a node.

    Attributes:
        node: the node.
        facts: None if it did not answer.
        problems: empty: none.
    """

    node: Node
    facts: NodeFacts | None
    problems: tuple[str, ...]


@dataclass(frozen=True)
class ClusterCheck:
    """The nodes of a cluster.

    Attributes:
        nodes: one for each.
    """

    nodes: tuple[NodeCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether no node has a problem."""
        return not any(one.problems for one in self.nodes)

    def as_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """Return plain JSON values."""
        return {"ok": self.ok, "nodes": [asdict(one) for one in self.nodes]}


def check_cluster(cluster: Cluster, model: str) -> ClusterCheck:
    """Examine all nodes, and compare them.

    Args:
        cluster: the cluster.
        model: as of `--model-dir`; each node looks for it.
    """
    return compared(cluster.on_each_node(partial(node_facts, model)))


def compared(answers: list[tuple[Node, NodeFacts | Exception]]) -> ClusterCheck:
    """Compare what nodes say; a version is a problem where it is not that of most nodes."""
    facts = [one for _, one in answers if isinstance(one, NodeFacts)]
    names = {name: None for one in facts for name in one.versions}
    usual = {name: Counter(one.versions.get(name) for one in facts).most_common(1)[0][0] for name in names}
    checks = []
    for node, one in answers:
        if not isinstance(one, NodeFacts):
            checks.append(NodeCheck(node, None, (f"did not answer: {one}",)))
            continue
        problems = [
            f"{name} {one.versions.get(name)}, most nodes have {version}"
            for name, version in usual.items()
            if one.versions.get(name) != version
        ]
        if len(one.gpus) < int(node.gpus):
            problems.append(f"Ray counts {node.gpus:g} GPUs, torch sees {len(one.gpus)}")
        if one.weights_problem:
            problems.append(f"no weights: {one.weights_problem}")
        checks.append(NodeCheck(node, one, tuple(problems)))
    return ClusterCheck(tuple(checks))
