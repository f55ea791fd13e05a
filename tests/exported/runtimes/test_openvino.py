"""What OpenVINO does to the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.tiny_graphs import write_ir

FREED_ELSEWHERE = """
import os, signal, sys, threading
from pathlib import Path
from depth_anything_3.exported.runtimes.openvino import OpenVinoGraph
signal.signal(signal.SIGUSR1, lambda *_: print("received"))
graphs = [OpenVinoGraph(Path(sys.argv[1]))]
thread = threading.Thread(target=graphs.clear)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
print("alive")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has no such signals")
def test_a_signal_is_received_after_another_thread_has_freed_a_network(tmp_path):
    path = write_ir(tmp_path / "model.xml")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", FREED_ELSEWHERE, path], capture_output=True, text=True, timeout=120, env=environment
    )
    assert (done.returncode, done.stdout.split()) == (0, ["received", "alive"]), done.stderr
