"""Calibration with decoders that stand in for those of a GPU."""

from __future__ import annotations

import pytest
import torch

from depth_anything_3.diagnostics import calibrate as module
from depth_anything_3.diagnostics.calibrate import SIZES, calibrate, nothing_to_measure
from depth_anything_3.diagnostics.network_load import NetworkLoad
from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.routing.costs import Cost
from depth_anything_3.inputs.routing.strategy import Capabilities
from support.fake_gpu import Opener, gpu_with

CPU = torch.device("cpu")
TINY = ((64, 48), (96, 64))
LONG = 600.0  # seconds; it ends by its number of runs


@pytest.fixture(autouse=True)
def one_run_each(monkeypatch):
    monkeypatch.setattr(module, "_MAX_RUNS", 1)


def settings_of(costs) -> list[tuple[str, int, int]]:
    return [(cost.decoder, cost.concurrency, cost.pixels) for cost in costs.table]


def test_every_strategy_is_measured_at_every_size_and_batch_size(caplog):
    opener = Opener()
    costs = calibrate(CPU, gpu_with("good", "better", cores=3), seconds=LONG, sizes=TINY, open_decoder=opener)
    runs = [("cpu", 1), ("cpu", 2), ("cpu", 3)]
    runs += [(name, count) for name in ("good", "better") for count in (1, 4, 16)]
    assert settings_of(costs) == [(*run, width * height) for width, height in TINY for run in runs]
    assert all(cost.alone_ms > 0 and cost.contended_ms > 0 for cost in costs.table)
    assert caplog.records == []
    assert [(one.traits.name, one.closed) for one in opener.opened] == [("good", True), ("better", True)]
    assert {size for one in opener.opened for size in one.batches} == {1, 4, 16}


def test_decoders_with_nearest_chroma_are_measured_too(monkeypatch):
    monkeypatch.setattr(module, "_FILES_PER_CALL", (1,))
    machine = gpu_with("nearest", coarse="nearest")
    costs = calibrate(CPU, machine, seconds=LONG, sizes=((640, 480),), open_decoder=Opener())
    assert costs.decoders == ("cpu", "nearest")


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        pytest.param("broken", "broken does not run here", id="cannot be opened"),
        pytest.param("picky", "not this one", id="rejects the image"),
        pytest.param("failing", "out of memory", id="raises"),
    ],
)
def test_an_unusable_decoder_is_skipped_with_a_reason(bad, told, caplog):
    costs = calibrate(CPU, gpu_with(bad, "good"), seconds=LONG, sizes=TINY, open_decoder=Opener())
    assert costs.decoders == ("cpu", "good")
    (message,) = [one.getMessage() for one in caplog.records if one.name == module.__name__]
    assert message.startswith(f"{bad} skipped: ")
    assert told in message


def test_the_largest_images_are_skipped_when_time_is_short(caplog, monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(ticks))
    done: list[float] = []
    costs = calibrate(CPU, gpu_with("good"), seconds=5, sizes=TINY, on_progress=done.append, open_decoder=Opener())
    small, large = (width * height for width, height in TINY)
    assert settings_of(costs) == [("cpu", 1, small), ("good", 1, small), ("good", 4, small), ("good", 16, small)]
    assert large not in {cost.pixels for cost in costs.table}
    assert caplog.messages == ["4 of 8 measurements skipped: the time limit of 5 s passed"]
    assert done == [0.2, 0.4, 0.6, 0.8, 1.0]


def test_medians_of_the_runs_count(monkeypatch):
    monkeypatch.setattr(module, "_MAX_RUNS", 3)
    clock = iter([0.0, 1.0, 0.0, 5.0, 0.0, 3.0, 0.0, 6.0, 0.0, 2.0, 0.0, 4.0])
    setting = module._Setting("cpu", 100, 2, 4, lambda: _Nothing())
    with NetworkLoad(CPU) as load:
        monkeypatch.setattr(load, "start", lambda _: _Nothing())
        monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
        for _ in range(3):
            assert module._measure(setting, load, CPU) is None
    assert setting.cost() == Cost("cpu", 100, 2, 500.0, 1250.0)


class _Nothing:
    """A batch without images; a load that is over."""

    images = ()

    def result(self) -> None:
        pass


def test_runs_of_one_setting_are_apart_from_one_another(monkeypatch):
    monkeypatch.setattr(module, "_MAX_RUNS", 2)
    order = []
    measure = module._measure
    monkeypatch.setattr(module, "_measure", lambda one, *rest: (order.append(one.decoder), measure(one, *rest))[1])
    calibrate(CPU, gpu_with("good"), seconds=LONG, sizes=TINY[:1], open_decoder=Opener())
    assert order == ["cpu", "good", "good", "good"] * 2


def test_images_are_photo_like_jpegs_of_the_sizes_asked_for():
    from depth_anything_3.inputs.header import JpegProcess, probe

    for (width, height), file in module._test_images(((160, 120), (320, 240))):
        header = probe(file, "drawn")
        assert header.stored_hw == (height, width)
        assert (header.jpeg.process, header.jpeg.subsampled) == (JpegProcess.BASELINE, True)
        assert 2 < 8 * len(file) / (width * height) < 8  # bits a pixel: neither flat nor noise


def test_sizes_go_from_vga_to_4k():
    assert (SIZES[0], SIZES[-1]) == ((640, 480), (3840, 2160))
    assert list(SIZES) == sorted(SIZES)


@pytest.mark.parametrize(
    ("cores", "counts"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])]
)
def test_numbers_of_workers_double_up_to_all_cores(cores, counts):
    assert module._worker_counts(cores) == counts


@pytest.mark.parametrize(
    ("capabilities", "told"),
    [
        pytest.param(Capabilities(), "the network is on the CPU", id="no GPU"),
        pytest.param(Capabilities("cuda", missing=("get x",)), "no GPU decoder is installed", id="no decoder"),
    ],
)
def test_where_there_is_no_choice_nothing_is_measured(capabilities, told):
    assert told in nothing_to_measure(capabilities)
    with pytest.raises(UnsupportedError, match=told):
        calibrate(CPU, capabilities)
    assert nothing_to_measure(gpu_with("good")) is None


def test_the_load_lasts_about_as_long_as_asked_in_blocks():
    with NetworkLoad(CPU) as load:
        assert load.block_seconds > 0
        assert torch.isfinite(load._block()).all()
        blocks = []
        load._compute = blocks.append
        load.start(10 * load.block_seconds).result()
        load.start(0).result()
    assert blocks == [10, 1]
