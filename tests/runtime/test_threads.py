from __future__ import annotations

import copy
import gc
import os
import pickle
import threading
import weakref

import pytest

from depth_anything_3.api import DepthAnything3
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.runtime import control_groups
from depth_anything_3.runtime.threads import ThreadPool, usable_cores
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.images import jpeg


def worker(threads: ThreadPool) -> threading.Thread:
    """The thread that did a piece of work."""
    seen: list[threading.Thread] = []
    assert threads.start(lambda: seen.append(threading.current_thread())).wait(60)
    return seen[0]


def ended(thread: threading.Thread) -> bool:
    thread.join(60)
    return not thread.is_alive()


def test_a_thread_is_reused_for_the_next_piece():
    threads = ThreadPool()
    assert len({worker(threads) for _ in range(20)}) == 1


def test_another_thread_is_started_only_while_one_is_at_work():
    threads, gate = ThreadPool(), threading.Event()
    first = threads.start(lambda: bool(gate.wait(60)))
    second = worker(threads)
    gate.set()
    assert first.wait(60)
    assert worker(threads) is not second  # the one that was idle last, its memory is still near
    assert second.is_alive()


def test_idle_threads_end_when_closed_and_start_again_for_work():
    threads = ThreadPool()
    first = worker(threads)
    threads.close()
    assert ended(first)
    second = worker(threads)
    assert second is not first
    del threads
    gc.collect()
    assert ended(second)


def test_a_thread_at_work_ends_after_it_if_it_was_forgotten():
    threads, gate, seen = ThreadPool(), threading.Event(), []
    done = threads.start(lambda: seen.append((threading.current_thread(), gate.wait(60))))
    del threads
    gc.collect()
    gate.set()
    assert done.wait(60)
    assert ended(seen[0][0])


def test_what_a_piece_of_work_held_is_let_go():
    class Frame:
        pass

    threads, frame = ThreadPool(), Frame()
    alive = weakref.ref(frame)
    assert threads.start(lambda held=frame: None).wait(60)
    del frame
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "pickle"])
def test_a_copy_has_threads_of_its_own(again):
    threads = ThreadPool()
    assert worker(threads) is not worker(again(threads))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking with threads is what is tested
def test_the_child_of_a_fork_starts_its_own():
    threads = ThreadPool()
    worker(threads)
    child = os.fork()
    if child == 0:
        os._exit(0 if threads.start(lambda: None).wait(60) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_model_uses_the_same_threads_in_every_run(seeded_small):
    def run() -> set[threading.Thread]:
        assert len(seeded_small.depth([jpeg()] * 3, process_res=28, num_workers=1)) == 3
        return set(threading.enumerate())

    assert isinstance(seeded_small, DepthAnything3)
    assert run() == run() == run()


def test_a_processor_reuses_its_workers_for_another_num_workers(monkeypatch):
    monkeypatch.setattr("depth_anything_3.runtime.threads.usable_cores", lambda: 3)
    before = set(threading.enumerate())

    def workers(processor: InputProcessor, count: int) -> set[threading.Thread]:
        processor([jpeg()] * 6, process_res=28, num_workers=count)
        return set(threading.enumerate()) - before

    with InputProcessor() as processor:
        first = workers(processor, 1)
        all_of_them = workers(processor, 3)
        assert first < all_of_them
        assert workers(processor, 1) == all_of_them == workers(processor, 9)


def test_closing_a_processor_ends_all_its_threads():
    before = set(threading.enumerate())
    with InputProcessor() as processor:
        assert len(list(processor.batches([jpeg()] * 3, PreprocessOptions(process_res=28)))) == 3
        started = set(threading.enumerate()) - before
    assert started
    assert all(ended(one) for one in started)


# The number of cores


def grouped(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("cpu_max", "cpu.max").replace("cfs_", "cpu.cfs_")).write_text(text)


@pytest.mark.parametrize(
    ("own", "groups", "cores"),
    [
        pytest.param("0::/", {"": {"cpu_max": "250000 100000\n"}}, 3, id="version 2, in a container"),
        pytest.param("0::/", {"": {"cpu_max": "max 100000\n"}}, 16, id="version 2, no limit"),
        pytest.param("0::/a/b", {"a": {"cpu_max": "200000 100000"}, "a/b": {"cpu_max": "max 100000"}}, 2, id="above"),
        pytest.param("0::/a/b", {}, 16, id="no controller"),
        pytest.param("0::/../other", {"": {"cpu_max": "50000 100000"}}, 1, id="outside of the container's tree"),
        pytest.param(
            "4:memory:/x\n3:cpu,cpuacct:/x",
            {"cpu,cpuacct": {"cfs_quota_us": "400000", "cfs_period_us": "100000"}},
            4,
            id="version 1, in a container",
        ),
        pytest.param(
            "1:cpu:/", {"cpu": {"cfs_quota_us": "-1\n", "cfs_period_us": "100000\n"}}, 16, id="version 1, no limit"
        ),
        pytest.param("0::/", {"": {"cpu_max": "6400000 100000"}}, 16, id="more than the machine has"),
        pytest.param("0::/", {"": {"cpu_max": "?"}}, 16, id="unreadable"),
        pytest.param("?", {}, 16, id="unknown format"),
        pytest.param(None, {}, 16, id="no Linux"),
    ],
)
def test_a_quota_limits_the_usable_cores(monkeypatch, tmp_path, own, groups, cores):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(control_groups, "_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(control_groups, "_OWN_CGROUP", tmp_path / "own")
    if own is not None:
        (tmp_path / "own").write_text(own)
    for folder, files in groups.items():
        grouped(tmp_path / "groups" / folder, **files)
    assert usable_cores() == cores
