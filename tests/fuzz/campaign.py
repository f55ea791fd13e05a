"""Decode a million damaged files in processes whose crashes are reported. Run by hand, not with the tests.

    python tests/fuzz/campaign.py --inputs 1000000 --seed 1 --out fuzz.jsonl

Input N of a seed is always the same, so what is found can be had again: `--only N`. A process ends where its memory
is over the limit; one that has not moved on for a minute is stopped. Slow is what takes two seconds of the processor.
Ctrl-C ends it with a report of what was done.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import multiprocessing
import os
import random
import resource
import sys
import time
import traceback
import warnings
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.fuzz_target import Examiner
from support.mutations import mutated

_MEMORY = 4 << 30  # bytes of address space; libraries that are only loaded take half of it
_STUCK = 60.0  # seconds


def _run(seed: int, first: int, last: int, at: Synchronized, decoded: Synchronized, found: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    warnings.simplefilter("ignore")
    logging.disable()
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)  # what C libraries print
    faulthandler.enable(found.with_suffix(".crash").open("w"))
    examine = Examiner()
    for number in range(first, last):
        at.value = number
        try:
            decoded.value += examine(mutated(random.Random(f"{seed}:{number}")))
        except Exception:
            with found.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"input": number, "trace": traceback.format_exc()}) + "\n")
    with found.with_suffix(".peak").open("a") as file:
        file.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")


def _watch(process: multiprocessing.Process, at: Synchronized, first: int) -> None:
    """Wait for its end; stop it if it does not move on."""
    seen, since = -1, time.monotonic()
    while process.is_alive():
        process.join(1.0)
        if at.value != seen:
            seen, since = at.value, time.monotonic()
        elif time.monotonic() - since > _STUCK + 300 * (seen == first):  # it takes a while to start
            process.kill()


def campaign(seed: int, inputs: int, out: Path) -> dict[str, object]:
    """Examine so many inputs, in a process that is started again if it dies."""
    context = multiprocessing.get_context("spawn")
    at, decoded = context.Value("q", 0), context.Value("q", 0)
    deaths, began, first = [], time.monotonic(), 0
    while first < inputs:
        at.value = first
        process = context.Process(target=_run, args=(seed, first, inputs, at, decoded, out))
        process.start()
        try:
            _watch(process, at, first)
        except KeyboardInterrupt:  # the rest is left
            process.kill()
            inputs = at.value
            break
        if process.exitcode == 0:
            break
        deaths.append({"input": at.value, "exit": process.exitcode})
        first = at.value + 1
    errors = out.read_text(encoding="utf-8").count("\n") if out.exists() else 0
    peaks = out.with_suffix(".peak")
    return {
        "seed": seed,
        "inputs": inputs,
        "decoded": decoded.value,
        "errors_not_ours_or_too_slow": errors,
        "deaths": deaths,
        "peak_mb": max(map(int, peaks.read_text().split())) // 1024 if peaks.exists() else None,
        "seconds": round(time.monotonic() - began, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="this input alone, in this process")
    parser.add_argument("--out", type=Path, default=Path("fuzz.jsonl"), help="where findings go")
    options = parser.parse_args()
    if options.only is not None:
        Examiner()(mutated(random.Random(f"{options.seed}:{options.only}")))
    else:
        print(json.dumps(campaign(options.seed, options.inputs, options.out), indent=1))
