"""The benchmarks share one harness, whose arithmetic is checked here with times that are made up."""

from __future__ import annotations

import ast
import math
import os
import re
import runpy
import sys
from collections import Counter
from itertools import count
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = (
    "gpu_preprocessing_benchmark",
    "decoders",
    "network_benchmark",
    "throughput",
    "video",
    "gpu_suite",
    "output_size",
    "end_to_end",
)
FILES = [*(BENCHMARKS / f"{name}.py" for name in SCRIPTS), *sorted(BENCHMARKS.glob("*/*.py"))]
TREES = {path.relative_to(BENCHMARKS).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


def scripted(times_ms):
    """A call that reports given times instead of taking them; first come the warm-up's."""
    from harness.timing import Turn

    turns = iter(times_ms)
    return lambda: Turn(wall_ms=next(turns), cpu_ms=1.0)


def test_a_ratio_is_the_median_of_the_ratios_of_single_turns():
    from harness.timing import take_turns

    # The second turn is slow for both, as when something else takes the cores.
    calls = {"reference": scripted([99, 10, 100, 12]), "ours": scripted([99, 5, 10, 3])}
    timings = take_turns(calls, rounds=3)
    assert timings["ours"].times_ms == [5, 10, 3]
    assert timings["ours"].times_faster_than(timings["reference"]) == 4  # of 2, 10 and 4
    assert timings["ours"].median_ms == 5
    assert timings["reference"].median_ms == 12
    assert timings["reference"].percentile_ms(50) == 12
    assert timings["ours"].network_lost_ms is None


def test_warm_up_rounds_are_called_but_do_not_count():
    from harness.timing import take_turns

    (timing,) = take_turns({"ours": scripted(count())}, rounds=3, warm_up=2).values()
    assert timing.times_ms == [2, 3, 4]


def test_calls_take_turns_in_a_changing_but_repeatable_order():
    from harness.timing import Turn, take_turns

    def order():
        called = []
        calls = {name: lambda name=name: called.append(name) or Turn(1.0, 1.0) for name in "abc"}
        take_turns(calls, rounds=6)
        return ["".join(called[place : place + 3]) for place in range(0, len(called), 3)]

    rounds = order()
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) > 1
    assert rounds == order()


def test_one_round_is_timed_when_the_time_is_over():
    from harness.timing import take_turns

    (timing,) = take_turns({"ours": scripted(count())}, rounds=9, seconds=-1.0).values()
    assert timing.times_ms == [1]


def test_a_call_that_raises_keeps_its_reason_and_the_others_go_on():
    from harness.timing import take_turns

    def broken():
        raise ValueError("no such codec\nand more")

    timings = take_turns({"broken": broken, "ours": scripted(count())}, rounds=2, catch=(ValueError,))
    assert timings["broken"].failure == "ValueError: no such codec"
    assert timings["broken"].turns == []
    assert timings["ours"].times_ms == [1, 2]
    with pytest.raises(ValueError, match="no such codec"):
        take_turns({"broken": broken}, rounds=2)


def test_levels_and_psnr_of_two_images():
    from harness.fidelity import difference, normalized_difference

    a = np.full((2, 3, 4, 5), 100, np.uint8)
    b = a.copy()
    b[0, 0, 0, 0] = 110
    apart = difference(a, b)
    assert (apart.levels, apart.differing) == (10, pytest.approx(1 / a.size))
    assert apart.psnr_db == pytest.approx(10 * math.log10(255**2 * a.size / 100))
    assert difference(a, a).psnr_db == math.inf
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    batches = [((torch.from_numpy(one) / 255 - mean) / std) for one in (a, b)]
    assert normalized_difference(*batches) == apart


def test_growth_of_memory_is_between_the_peaks_before_and_after():
    from harness.watch import Sample, Watch, quarters

    watch = Watch()
    assert math.isnan(watch.growth(10).growth)
    for done, rss_mb in ((5, 100.0), (10, 120.0), (15, 110.0), (20, 123.0)):
        watch.samples.append(Sample(0.0, done, rss_mb, 0.0, 0.0, 0.0, 0, 0))
    assert (watch.growth(10).peak, watch.growth(10).growth) == (123.0, 3.0)
    assert watch.growth(1).growth == 23.0  # the first sample counts as settled
    assert quarters([1, 5, 2, 2, 3, 4, 9, 1]) == [5, 2, 4, 9]


def test_rows_survive_json_under_the_names_of_the_fixed_table():
    from harness.cases import Row

    row = Row("4K", "files", "alone", 4, "CPU reference", "usual", runs=2, median_ms=1.5, times_ms=(1.0, 2.0))
    assert row.as_dict()["method"] == "CPU reference"
    assert Row.from_dict(row.as_dict()) == row


def test_every_script_explains_itself(monkeypatch, capsys):
    for name in SCRIPTS:
        monkeypatch.setattr(sys, "argv", [name, "--help"])
        # A script may turn gradients off and set variables for good.
        with torch.enable_grad(), patch.dict(os.environ), pytest.raises(SystemExit) as ended:
            runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
        assert not ended.value.code, name
    assert re.findall(r"^usage: (\w+)", capsys.readouterr().out, re.MULTILINE) == list(SCRIPTS)


def test_no_benchmark_defines_again_what_another_has():
    names = Counter()
    for tree in TREES.values():
        defined = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
        names.update(one for one in defined if not one.startswith("_"))
    entry_points = {"arguments", "main", "run"}
    assert {name for name, times in names.items() if times > 1} <= entry_points


@pytest.mark.parametrize(("call", "file"), [("process_time", "harness/timing.py"), ("memory_info", "harness/watch.py")])
def test_one_file_reads_the_processor_time_and_one_the_memory(call, file):
    users = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == call
    }
    assert users == {file}


@pytest.mark.slow
def test_another_package_of_our_name_is_timed_in_its_own_process():
    """Here its Python is this one, so that the other package is ours too."""
    from depth_anything_3.diagnostics.synthetic import photo
    from depth_anything_3.errors import UnsupportedError
    from depth_anything_3.utils.io.input_processor import InputProcessor
    from harness.fork import ForkProcessor
    from harness.images import encode
    from harness.method import Setting

    setting = Setting.of(torch.device("cpu"), 2)
    pixels = [photo(640, 480, seed) for seed in range(2)]
    files = [encode(one, quality=95) for one in pixels]
    method = ForkProcessor(setting, Path(sys.executable))
    try:
        for images in (pixels, files, pixels[:1]):
            for _ in range(2):
                assert torch.equal(method(images), InputProcessor()(images).tensor)
    finally:
        method.close()
    with pytest.raises((UnsupportedError, OSError)):
        ForkProcessor(setting, Path("/bin/true"))
