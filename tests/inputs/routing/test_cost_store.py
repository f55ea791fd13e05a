"""Measured costs are stored, read again, and ignored once they no longer apply."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numba
import pytest
import torch

from depth_anything_3.errors import ExportError, UnsupportedError
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.decode.gpu.registry import FoundDecoders
from depth_anything_3.inputs.header import ImageHeader, JpegCoding, JpegProcess
from depth_anything_3.inputs.routing import capabilities
from depth_anything_3.inputs.routing import cost_store as calibration
from depth_anything_3.inputs.routing.cost_store import calibration_path, load_costs, read_calibration, save_costs
from depth_anything_3.inputs.routing.costs import Cost, Costs
from depth_anything_3.inputs.routing.strategy import Capabilities, ImageTraits, Request, choose_strategy

HERE = Capabilities(
    device_type="cuda",
    device_name="NVIDIA L4",
    decoders=(DecoderTraits("nvimgcodec", "0.9.0", exact=True),),
    jpeg_engines=2,
    resamplers=("triton", "torch"),
    cores=8,
)
MEASURED = Costs(
    (
        Cost("cpu", 2_073_600, 1, 12.5, 13.0),
        Cost("cpu", 2_073_600, 8, 2.5, 2.75),
        Cost("nvimgcodec", 2_073_600, 1, 3.0, 3.5),
        Cost("nvimgcodec", 2_073_600, 16, 0.75, 6.0),
    )
)
PHOTO = ImageTraits(
    ImageHeader("JPEG", (1080, 1920), 1, JpegCoding(JpegProcess.BASELINE, 8, ((2, 2), (1, 1), (1, 1)))), reduction=3.8
)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    """A cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(calibration.platformdirs, "user_cache_path", lambda *_, **__: folder)
    return folder


@pytest.fixture
def stored() -> Path:
    return save_costs(HERE, MEASURED)


def rewritten(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_stored_costs_are_loaded(stored, cache, caplog):
    assert stored.parent == cache
    assert [path.name for path in cache.iterdir()] == [stored.name]  # nothing half-written beside it
    assert load_costs(HERE) == MEASURED
    found = read_calibration(HERE)
    assert (found.path, found.costs, found.ignored) == (stored, MEASURED, None)
    assert found.date is not None
    assert caplog.records == []


def test_without_a_file_there_is_no_calibration_and_no_warning(caplog):
    assert load_costs(HERE) is None
    assert read_calibration(HERE).ignored is None
    assert caplog.records == []


def test_a_later_calibration_replaces_the_earlier(stored):
    later = Costs((replace(MEASURED.table[0], alone_ms=1.0),))
    assert save_costs(HERE, later) == stored
    assert load_costs(HERE) == later


def test_known_costs_do_not_change_the_fingerprint(stored):
    assert load_costs(replace(HERE, costs=MEASURED, missing=("torchcodec",))) == MEASURED


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(HERE, device_name="NVIDIA H200"), id="another GPU"),
        pytest.param(replace(HERE, device_name="NVIDIA L4 MIG 1g.6gb"), id="slice of it"),
        pytest.param(replace(HERE, device_type="mps"), id="another kind of device"),
        pytest.param(replace(HERE, cores=4), id="fewer cores"),
    ],
)
def test_machines_that_share_a_home_have_separate_files(stored, cache, other, caplog):
    assert load_costs(other) is None
    theirs = Costs(MEASURED.table[:1])
    save_costs(other, theirs)
    assert len(list(cache.iterdir())) == 2
    assert (load_costs(HERE), load_costs(other)) == (MEASURED, theirs)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("later", "message"),
    [
        pytest.param(
            replace(HERE, decoders=(DecoderTraits("nvimgcodec", "0.10.0", exact=True),)),
            "decoders was nvimgcodec 0.9.0, is nvimgcodec 0.10.0",
            id="decoder updated",
        ),
        pytest.param(replace(HERE, decoders=()), "decoders was nvimgcodec 0.9.0, is none", id="decoder removed"),
        pytest.param(replace(HERE, jpeg_engines=None), "JPEG engines was 2, is unknown", id="engines unknown"),
        pytest.param(
            replace(HERE, resamplers=("torch",)), "resamplers was triton, torch, is torch", id="resampler gone"
        ),
    ],
)
def test_it_is_ignored_once_the_machine_changed(stored, later, message, caplog):
    assert load_costs(later) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for part in (str(stored), message, "`da3 doctor --calibrate`"):
        assert part in record.getMessage()


@pytest.mark.parametrize("library", ["torch", "numba"])
def test_it_is_ignored_once_a_library_changed(stored, library, monkeypatch):
    before = json.loads(stored.read_text())["fingerprint"]
    monkeypatch.setattr(calibration, "package_version", lambda name, **_: "99.0" if name == library else before[name])
    assert "is 99.0); run `da3 doctor" in read_calibration(HERE).ignored


def test_a_library_whose_version_is_not_known_is_no_error(monkeypatch):
    def unknown(name, **_):
        raise UnsupportedError(f"{name} is not installed")

    monkeypatch.setattr(calibration, "package_version", unknown)
    save_costs(HERE, MEASURED)
    assert load_costs(HERE) == MEASURED


def test_versions_match_the_imported_packages(stored):
    fingerprint = json.loads(stored.read_text())["fingerprint"]
    assert (fingerprint["torch"], fingerprint["numba"]) == (torch.__version__, numba.__version__)


def test_it_is_ignored_once_opencv_changed(stored, monkeypatch):
    monkeypatch.setattr(calibration.cv2, "__version__", "99.0")
    assert "is 99.0" in read_calibration(HERE).ignored


def test_it_is_ignored_once_the_driver_changed(stored, monkeypatch):
    monkeypatch.setattr(calibration, "_cuda_driver", lambda: 99_000)
    assert "driver was " in read_calibration(HERE).ignored


def test_the_driver_is_queried_for_cuda_only(monkeypatch):
    monkeypatch.setattr(calibration, "_cuda_driver", lambda: pytest.fail("asked"))
    save_costs(replace(HERE, device_type="mps"), MEASURED)


def test_another_format_is_ignored_but_its_date_reported(stored):
    rewritten(stored, version=2)
    found = read_calibration(HERE)
    assert (found.costs, found.date is None) == (None, False)
    assert "its format is 2, not 1" in found.ignored


ROW = {"way": "cpu", "pixels": 100, "at_a_time": 1, "alone_ms": 1.0, "loaded_ms": 1.0}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"fingerprint": None}, id="no fingerprint"),
        pytest.param({"fingerprint": []}, id="fingerprint is a list"),
        pytest.param({"rows": []}, id="no rows"),
        pytest.param({"rows": None}, id="rows are null"),
        pytest.param({"rows": 7}, id="rows are a number"),
        pytest.param({"rows": ["cpu"]}, id="rows are words"),
        pytest.param({"rows": [{}]}, id="empty row"),
        pytest.param({"rows": [ROW | {"way": 1}]}, id="decoder is a number"),
        pytest.param({"rows": [ROW | {"pixels": 0}]}, id="no pixels"),
        pytest.param({"rows": [ROW | {"alone_ms": -1}]}, id="negative"),
        pytest.param({"rows": [ROW | {"alone_ms": float("nan")}]}, id="nan"),
        pytest.param({"rows": [ROW | {"loaded_ms": float("inf")}]}, id="infinite"),
        pytest.param({"rows": [ROW | {"loaded_ms": 10**400}]}, id="beyond floats"),
        pytest.param({"rows": [ROW | {"loaded_ms": "1"}]}, id="time is a word"),
    ],
)
def test_a_damaged_file_is_ignored(stored, changes, caplog):
    rewritten(stored, **changes)
    assert load_costs(HERE) is None
    (record,) = caplog.records
    assert "damaged" in record.getMessage()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"{}", id="nothing in it"),
        pytest.param(b"\xff\xfe\x00", id="not text"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b" " * 2**21, id="long"),
        pytest.param(b'{"version": 1, "rows": [1e999]}', id="huge"),
    ],
)
def test_a_file_of_anything_is_ignored(stored, content, caplog):
    stored.write_bytes(content)
    assert load_costs(HERE) is None
    (record,) = caplog.records
    assert str(stored) in record.getMessage()


def test_a_file_truncated_anywhere_is_ignored(stored):
    whole = stored.read_bytes()
    for length in range(0, len(whole) - 1, 37):
        stored.write_bytes(whole[:length])
        assert load_costs(HERE) is None


def test_a_folder_in_its_place_is_ignored_and_saving_says_so(cache):
    calibration_path(HERE).mkdir(parents=True)
    assert load_costs(HERE) is None
    with pytest.raises(ExportError, match=r"cannot be written .*so the calibration is not stored"):
        save_costs(HERE, MEASURED)
    assert [path.name for path in cache.iterdir()] == [calibration_path(HERE).name]


def test_a_cache_folder_that_cannot_be_made_is_an_error_that_names_it(cache):
    cache.write_text("a file")
    assert load_costs(HERE) is None
    with pytest.raises(ExportError, match=str(cache)):
        save_costs(HERE, MEASURED)


@pytest.mark.skipif(sys.platform != "linux", reason="the variable is Linux's")
def test_the_environment_moves_the_cache_folder_on_linux(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert save_costs(HERE, MEASURED).parent == tmp_path / "elsewhere" / "depth-anything-3-fast"


# What it is for


@pytest.fixture
def found_here(monkeypatch):
    """`find_capabilities` on this machine as if it were `HERE`, for a device of that kind."""
    monkeypatch.setattr(capabilities, "find_decoders", lambda _: FoundDecoders(HERE.decoders, ()))
    monkeypatch.setattr(capabilities, "jpeg_engines", lambda _: HERE.jpeg_engines, raising=False)
    return lambda: capabilities.find_capabilities(torch.device("cpu"))


def test_stored_costs_are_part_of_the_capabilities(found_here):
    before = found_here()
    assert before.costs is None
    save_costs(before, MEASURED)
    assert found_here() == replace(before, costs=MEASURED)


@pytest.mark.parametrize(
    ("request_", "strategy"),
    [
        pytest.param(Request(batch_size=1, workers=1), Strategy.GPU_DECODE, id="GPU 3.0, CPU 12.5"),
        pytest.param(Request(batch_size=1, workers=8), Strategy.GPU_DECODE, id="GPU 3.0, one of 8 workers 12.5"),
        pytest.param(Request(batch_size=16, workers=8), Strategy.GPU_DECODE, id="GPU 0.75, CPU 2.5"),
        pytest.param(Request(batch_size=16, workers=8, overlapped=True), Strategy.HYBRID, id="GPU 6.0, CPU 2.75"),
    ],
)
def test_measured_costs_decide(stored, request_, strategy):
    assert choose_strategy(HERE, PHOTO, request_).strategy is Strategy.GPU_DECODE  # by rule: it has JPEG engines
    choice = choose_strategy(replace(HERE, costs=load_costs(HERE)), PHOTO, request_)
    assert choice.strategy is strategy
    assert choice.reason.startswith("measured: ")
