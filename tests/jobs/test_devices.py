"""Runs on several devices. Threads stand in for the processes; tests/cli/test_split_command.py has real ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from depth_anything_3.errors import DA3Error, DeviceError, ImageDecodeError, InvalidInputError
from depth_anything_3.inference.options import BatchOptions, StreamOptions
from depth_anything_3.inputs.discover import FoundImage, find_with_folders
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.jobs import devices
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.devices import parse_devices, run_on_devices
from depth_anything_3.jobs.image_job import ImageJob
from depth_anything_3.jobs.shards import Shard
from depth_anything_3.runtime.child_processes import LogLine
from support.command import files_in
from support.device_threads import ThreadContext, load, use_engine
from support.seeded_values import seeded_images_uint8

IMAGES = 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0,1", ("cuda:0", "cuda:1")),
        ("cuda:0, CUDA:3", ("cuda:0", "cuda:3")),
        ("cpu,cpu", ("cpu", "cpu")),
        ("mps", ("mps",)),
    ],
)
def test_devices_are_parsed(text, expected):
    assert parse_devices(text) == expected


@pytest.mark.parametrize("text", ["0,", "gpu", "cuda:", "0;1", "-1"])
def test_an_unknown_device_is_refused(text):
    with pytest.raises(InvalidInputError, match="is unknown; join numbers or names of devices"):
        parse_devices(text)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for index, image in enumerate(seeded_images_uint8(IMAGES, 42, 56, seed=3)):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def job(seeded_small, photos, tmp_path) -> ImageJob:
    use_engine(seeded_small.engine)
    return ImageJob(
        images=find_with_folders([str(photos)]),
        destination=Destination(folder=tmp_path / "out", formats="mini_npz-depth_png"),
        options=StreamOptions(
            preprocess=PreprocessOptions(process_res=28, num_workers=1), batching=BatchOptions(batch_size=1)
        ),
    )


@pytest.fixture
def in_threads(monkeypatch):
    def use(**settings: object) -> None:
        context = ThreadContext(**settings)
        monkeypatch.setattr(devices.multiprocessing, "get_context", lambda method: context)

    use()
    return use


def in_folder(job: ImageJob, folder: Path) -> ImageJob:
    return ImageJob(
        images=job.images,
        destination=Destination(folder=folder, formats=job.destination.formats),
        options=job.options,
        resume=True,
    )


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_in(folder) if "report" not in name}


def test_two_devices_write_what_one_process_writes(in_threads, seeded_small, job, tmp_path):
    alone, steps, cards = in_folder(job, tmp_path / "alone"), [], []
    expected = alone.compute(seeded_small.engine)
    report = run_on_devices(job, ("cpu", "cpu"), load, on_progress=steps.append, on_loaded=cards.append)
    assert results(tmp_path / "out") == results(tmp_path / "alone")
    assert (report.images, report.device, report.network, report.left) == (IMAGES, "cpu, cpu", "da3-small", {})
    assert [one.source for one in report.records] == [one.source for one in expected.records]
    assert report.strategies == expected.strategies
    assert (len(steps), [one.name for one in cards]) == (IMAGES, ["da3-small"])
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report.as_dict()
    assert [name for name in files_in(tmp_path / "out") if "report" in name] == ["report.json"]
    assert 0 < report.wall_seconds < sum(report.stage_seconds.values()) + 60


def test_the_devices_of_a_shard_share_it(in_threads, job):
    shard = Shard(1, 3)
    report = run_on_devices(job.part(shard), ("cpu", "cpu"), load)
    assert [one.source for one in report.records] == [str(one.path) for one in shard.select(job.images)]
    assert (report.shard, report.total) == ("1/3", IMAGES)
    assert job.part(shard).report_file.exists()


def test_a_killed_process_fails_the_run_but_keeps_the_results_of_the_others(in_threads, job, tmp_path, caplog):
    in_threads(killed=lambda number: number == 1)
    lost = {str(one.path) for one in Shard(1, 2).select(job.images)}
    text = rf"cpu \(process 1\): its process was killed \(SIGKILL; .*\); {len(lost)} of {IMAGES} images are left"
    with pytest.raises(DeviceError, match=text):
        run_on_devices(job, ("cpu", "cpu"), load)
    assert "cpu (process 1): its process was killed" in caplog.text
    assert "the others continue" in caplog.text
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {*report["left"].values()} == lost
    assert (report["images"], len(report["records"])) == (IMAGES - len(lost),) * 2
    assert report["stopped_by"].startswith("cpu (process 1): ")
    in_threads()
    again = run_on_devices(in_folder(job, tmp_path / "out"), ("cpu", "cpu"), load)
    assert (again.images, again.skipped, again.left) == (len(lost), IMAGES - len(lost), {})


def test_the_others_finish_when_a_gpu_fails(in_threads, job, tmp_path):
    kept = len(Shard(1, 2).select(job.images))
    text = f"cuda:0: the GPU is gone; {IMAGES - kept} of {IMAGES} images are left, the results of {kept} are complete"
    with pytest.raises(DeviceError, match=text):
        run_on_devices(job, ("cuda:0", "cpu"), load)
    assert len(list((tmp_path / "out" / "depth_png").iterdir())) == kept


def test_the_error_of_a_process_is_raised(in_threads, job, tmp_path):
    with pytest.raises(DA3Error, match="no such device"):
        run_on_devices(job, ("mps", "cpu"), load)
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(job.images[0].path.read_bytes()[:60])
    job = in_folder(job, tmp_path / "damaged")
    job = ImageJob(images=[FoundImage.alone(damaged)], destination=job.destination, options=job.options)
    with pytest.raises(ImageDecodeError, match=r"damaged.png: truncated PNG"):
        run_on_devices(job, ("cpu", "cpu"), load)


def test_ctrl_c_asks_the_processes_to_stop_and_waits_for_them(in_threads, job, tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr(devices._Process, "send", _recorded(devices._Process.send, sent))

    def stop(_failed: int = 0) -> None:
        if "stop" not in sent:
            raise KeyboardInterrupt("SIGTERM")

    with pytest.raises(KeyboardInterrupt):
        run_on_devices(job, ("cpu", "cpu"), load, on_progress=stop)
    assert "stop" in sent
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["stopped_by"] == "SIGTERM"
    assert report["images"] == IMAGES  # threads do not obey


def _recorded(send, sent: list[object]):
    def recorded(self, message: object) -> None:
        sent.append(message)
        send(self, message)

    return recorded


def test_warnings_are_logged_once_and_other_records_with_their_device(caplog):
    processes = devices._Processes(None, ("cuda:0", "cuda:1"), load, Path(), lambda _: None, lambda _: None)
    caplog.set_level("INFO")
    for label in ("cuda:0", "cuda:1"):
        process = devices._Process(label, None, None, None)
        processes._take(process, LogLine(30, "a warning"))
        processes._take(process, LogLine(20, "what is chosen"))
    assert caplog.messages == ["cuda:0: a warning", "cuda:0: what is chosen", "cuda:1: what is chosen"]
