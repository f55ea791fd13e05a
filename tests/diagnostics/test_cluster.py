"""Compare the nodes of a cluster."""

from __future__ import annotations

import json
import sys

import pytest

from depth_anything_3.cli import main
from depth_anything_3.cli.cluster_check import cluster_table
from depth_anything_3.diagnostics.cluster import NodeFacts, compared, node_facts
from depth_anything_3.runtime.ray_cluster import Node

SAME = {"python": "3.11.7", "depth_anything_3": "1.0", "torch": "2.9.0", "numpy": "2.3.0"}


def node(name, gpus=0.0):
    return Node(name, name, 8.0, gpus)


def test_nodes_that_agree_are_in_order():
    check = compared([(node("a"), NodeFacts(SAME, (), None)), (node("b", 1.0), NodeFacts(SAME, ("H100",), None))])
    assert check.ok
    assert cluster_table(check).row_count == 2


@pytest.mark.parametrize(
    ("gpus", "facts", "problem"),
    [
        (0.0, NodeFacts({**SAME, "torch": "2.8.0"}, (), None), "torch 2.8.0, most nodes have 2.9.0"),
        (2.0, NodeFacts(SAME, ("H100",), None), "Ray counts 2 GPUs, torch sees 1"),
        (0.0, NodeFacts(SAME, (), "x: no such model"), "no weights: x: no such model"),
        (0.0, OSError("lost"), "did not answer: lost"),
    ],
    ids=["version", "gpus", "weights", "silent"],
)
def test_a_node_that_differs_is_named(gpus, facts, problem):
    good = [(node(name), NodeFacts(SAME, (), None)) for name in "ab"]
    check = compared([*good, (node("c", gpus), facts)])
    assert [one.problems for one in check.nodes] == [(), (), (problem,)]
    assert not check.ok
    assert json.dumps(check.as_dict())
    assert cluster_table(check).row_count == 3


def test_a_node_examines_itself(tmp_path):
    facts = node_facts("da3-nano")
    assert facts.weights_problem is None
    assert facts.versions["torch"] != "missing"


def test_a_folder_without_weights_is_missed(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "config.json" in node_facts(str(tmp_path)).weights_problem


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Ray's libraries
def test_the_command_on_a_cluster_of_this_machine(capsys, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(sys, "argv", ["da3", "doctor", "--cluster", "local"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert "1 node(s) agree, and find da3-nano" in capsys.readouterr().out
