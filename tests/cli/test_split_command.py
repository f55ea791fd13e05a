"""`da3 images --shard` and `--devices` as processes that are stopped, killed and resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import psutil
import pytest
from PIL import Image

from depth_anything_3.inputs.discover import find_with_folders
from depth_anything_3.jobs.shards import Shard, report_path
from support.command import DONE, FAILURES, files_in
from support.images import encoded
from support.jobs import run_images
from support.run_state import wait_until
from support.seeded_values import seeded_images_uint8
from support.tars import write_tar

FORMATS = "npz-depth_png"
COUNT = 490


def write_photos(folder: Path, count: int) -> Path:
    for index, image in enumerate(seeded_images_uint8(count, 42, 56, seed=3)):
        path = folder / f"{index % 5}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def results(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in files_in(out) if "report" not in name}


@pytest.fixture
def start(small_checkpoint):
    """Starts `da3 images` as a process of its own, in a session of its own."""
    command = shutil.which("da3", path=os.fspath(Path(sys.executable).parent))
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    started: list[subprocess.Popen[str]] = []

    def begin(photos: Path, out: Path, *more: str) -> subprocess.Popen[str]:
        words = [command, "images", photos, "--recursive", "--model-dir", small_checkpoint, "--process-res", "28"]
        words += ["--export-format", FORMATS, "--batch-size", "1", "--json", "--export-dir", out, *more]
        pipe = subprocess.PIPE
        line = list(map(str, words))
        started.append(subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, env=env, start_new_session=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of the devices."""
    return [one for one in psutil.Process(process.pid).children() if "spawn_main" in " ".join(one.cmdline())]


@pytest.mark.slow
def test_seven_shards_of_many_images_one_killed_and_resumed(start, da3, seeded_small, tmp_path):
    """Six in this process; the killed one is a process of its own."""
    photos, out = write_photos(tmp_path / "photos", COUNT), tmp_path / "out"
    found = find_with_folders([str(photos)], recursive=True)
    killed, options = Shard(4, 7), {"process_res": 28, "batch_size": 1}
    process = start(photos, out, "--shard", "4/7")
    wait_until(lambda: len(list(out.glob("depth_png/*/*.png"))) >= 3 or process.poll() is not None)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    for shard in Shard(0, 1).split(7):
        if shard != killed:
            run_images(seeded_small, found, out, FORMATS, shard=shard, report_file=report_path(out, shard), **options)
    run = da3("report", out, "--json")
    summary = json.loads(run.out)
    assert run.code == FAILURES
    assert summary["not_ended"] == [str(out / "shards" / "report-4-of-7.json")]
    assert (summary["expected"], summary["images"] + summary["missing"]) == (COUNT, COUNT)
    assert 0 < summary["missing"] < len(killed.select(found))
    assert len(list(out.glob("depth_png/*/*.png"))) - summary["images"] in (0, 1)  # recorded after it was written
    words = ["images", photos, "--recursive", "--process-res", 28, "--export-format", FORMATS, "--batch-size", 1]
    again = json.loads(da3(*words, "--export-dir", out, "--shard", "4/7", "--resume", "--json").out)
    assert again["images"] == summary["missing"]
    run = da3("report", out, "--json")
    summary = json.loads(run.out)
    assert (run.code, summary["images"], summary["expected"], summary["duplicates"]) == (DONE, COUNT, COUNT, [])
    reports = [json.loads(one.read_text()) for one in (out / "shards").glob("report-*.json")]
    sources = [record["source"] for one in reports for record in one["records"]]
    assert sorted(sources) == sorted(str(one.path) for one in found)
    for index in range(5):
        assert len(list((out / "npz" / str(index)).glob("*.npz"))) == COUNT // 5


@pytest.mark.long
def test_a_killed_shard_of_a_tar_is_resumed_with_another_count(start, da3, tmp_path):
    images = [
        (f"{index}.png", encoded(one, "PNG")) for index, one in enumerate(seeded_images_uint8(60, 42, 56, seed=3))
    ]
    tar, out = write_tar(tmp_path / "in.tar", images), tmp_path / "out"
    pack = ("--pack", "webdataset", "--part-size", "3")
    process = start(tar, out, *pack, "--shard", "1/2")
    wait_until(lambda: len(list(out.glob("webdataset/depth-*"))) >= 2 or process.poll() is not None)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    summary = json.loads(da3("report", out, "--json").out)
    assert (summary["is_listed"], summary["not_ended"]) == (False, [str(out / "shards" / "report-1-of-2.json")])
    done = summary["images"]
    assert 6 <= done < 60
    words = ["images", tar, "--process-res", 28, "--export-format", FORMATS, "--batch-size", 1, *pack, "--resume"]
    shards = [da3(*words, "--export-dir", out, "--shard", f"{index}/3", "--json") for index in range(3)]
    assert sum(json.loads(one.out)["images"] for one in shards) == 60 - done
    run = da3("report", out, "--json")
    summary = json.loads(run.out)
    assert (run.code, summary["images"], summary["expected"], summary["duplicates"]) == (DONE, 60, 60, [])
    ids = [id for file in out.glob("webdataset/_*.ids.json") for id in json.loads(file.read_text())]
    assert set(ids) == {str(index) for index in range(60)}
    da3(*words, "--export-dir", out)
    assert not [one for one in out.rglob(".*") if one.is_file()]


@pytest.mark.long
def test_two_processes_write_what_one_writes(start, tmp_path):
    photos = write_photos(tmp_path / "photos", 12)
    ended = {}
    for name, flags in {"one": ("--device", "cpu"), "two": ("--devices", "cpu,cpu")}.items():
        process = start(photos, tmp_path / name, "--quiet", *flags)
        out, err = process.communicate()
        assert (process.returncode, err) == (DONE, "")
        ended[name] = json.loads(out)
    assert results(tmp_path / "one") == results(tmp_path / "two")
    assert ended["two"]["images"] == 12
    assert ended["two"] == json.loads((tmp_path / "two" / "report.json").read_text())
    sources = [[record["source"] for record in ended[name]["records"]] for name in ended]
    assert sources[0] == sources[1]


@pytest.mark.long
def test_a_killed_device_is_named_and_resume_finishes(start, da3, tmp_path):
    photos, out = write_photos(tmp_path / "photos", 120), tmp_path / "out"
    process = start(photos, out, "--devices", "cpu,cpu")
    wait_until(lambda: (out / "shards" / "manifest-1-of-2.jsonl").exists() or process.poll() is not None)
    max(children(process), key=lambda one: one.pid).kill()  # the other may have finished
    _, err = process.communicate()
    assert process.returncode == FAILURES
    warning, error = (line for line in err.splitlines() if "images/s" not in line)  # that is progress
    assert warning.startswith("warning cpu (process 1): its process was killed (SIGKILL; ")
    assert warning.endswith("; the others continue")
    report = json.loads((out / "report.json").read_text())
    left, done = len(report["left"]), report["images"]
    assert left + done == 120
    assert 0 < left <= len(Shard(1, 2).select(find_with_folders([str(photos)], recursive=True)))
    assert f"; {left} of 120 images are left, the results of {done} are complete. To continue, pass --resume" in error
    words = ["images", photos, "--recursive", "--process-res", 28, "--export-format", FORMATS, "--batch-size", 1]
    run = da3(*words, "--export-dir", out, "--resume", "--json", "--quiet")  # one process continues what two began
    assert (run.code, run.err) == (DONE, "")
    again = json.loads(run.out)
    assert (again["images"], again["skipped"]) == (left, done)
    assert not [one for one in out.rglob(".*") if one.is_file()]


# The processes of the devices ignore SIGINT and wait for the command's word; SIGTERM reaches them twice.
@pytest.mark.long
@pytest.mark.parametrize(("number", "code", "by"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_signal_stops_all_devices_in_an_orderly_way(start, tmp_path, number, code, by):
    photos, out = write_photos(tmp_path / "photos", 200), tmp_path / "out"
    process = start(photos, out, "--devices", "cpu,cpu")
    wait_until(lambda: len(list(out.glob("shards/*.jsonl"))) == 2 or process.poll() is not None)
    running = children(process)
    os.killpg(process.pid, number)
    _, err = process.communicate()
    assert process.returncode == code, err
    assert not any(one.is_running() for one in running)
    report = json.loads((out / "report.json").read_text())
    assert report["stopped_by"] == by
    assert report["images"] + len(report["left"]) == 200
    assert 0 < report["images"] == len(list(out.glob("npz/*/*.npz"))) == len(list(out.glob("depth_png/*/*.png"))) < 200
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("Stopped after ")
    assert "--resume" in err


@pytest.mark.long
def test_devices_stop_when_their_parent_is_killed(start, tmp_path):
    photos, out = write_photos(tmp_path / "photos", 200), tmp_path / "out"
    process = start(photos, out, "--devices", "cpu,cpu")
    wait_until(lambda: len(list(out.glob("shards/*.jsonl"))) == 2 or process.poll() is not None)
    running = children(process)
    process.kill()
    process.wait()
    wait_until(lambda: not any(one.is_running() for one in running))
    assert len(list(out.glob("npz/*/*.npz"))) == len(list(out.glob("depth_png/*/*.png"))) < 200


def packed(out: Path) -> dict[str, bytes]:
    """The members of all tars of results."""
    members = {}
    for one in out.glob("webdataset/depth-*.tar"):
        with tarfile.open(one) as tar:
            members |= {member.name: tar.extractfile(member).read() for member in tar}
    return members


@pytest.mark.slow
def test_two_processes_pack_what_one_packs(start, tmp_path):
    images = [(f"{index}.png", encoded(one, "PNG")) for index, one in enumerate(seeded_images_uint8(9, 42, 56, seed=3))]
    tars = [
        write_tar(tmp_path / "a.tar", images[:5]),
        write_tar(tmp_path / "b.tar", [*images[5:], ("bad.png", images[0][1][:99])]),
    ]
    reports = []
    for name, flags in {"one": ("--device", "cpu"), "two": ("--devices", "cpu,cpu")}.items():
        process = start(tars[0], tmp_path / name, tars[1], "--pack", "webdataset", "--quiet", *flags)
        out, err = process.communicate()
        assert process.returncode == FAILURES, err
        reports.append(json.loads(out))
        assert (reports[-1]["images"], [one["id"] for one in reports[-1]["records"]]) == (9, ["bad"])
    assert packed(tmp_path / "one") == packed(tmp_path / "two")
    assert len(reports[1]["workers"]) == 2
    assert reports[1]["device"] == "cpu (process 0), cpu (process 1)"


@pytest.mark.slow
def test_the_images_of_a_killed_process_are_computed_by_the_other(start, tmp_path):
    photos, out = write_photos(tmp_path / "photos", 200), tmp_path / "out"
    listed = tmp_path / "list.csv"
    listed.write_text("id,path\n" + "".join(f"{one.stem},{one}\n" for one in sorted(photos.glob("*/*.png"))))
    process = start(listed, out, "--devices", "cpu,cpu", "--pack", "webdataset")
    wait_until(lambda: list(out.glob("webdataset/depth-*.tar")) or process.poll() is not None)
    children(process)[0].kill()
    report, err = process.communicate()
    assert process.returncode == DONE, err
    assert "its process was killed (SIGKILL; " in err
    assert json.loads(report)["images"] == 200
    ids = [id for file in out.glob("webdataset/_depth*.ids.json") for id in json.loads(file.read_text())]
    assert sorted(ids) == sorted(str(index) for index in range(200))


@pytest.mark.long
def test_ctrl_c_ends_the_processes_of_stored_images(start, da3, tmp_path):
    photos, out = write_photos(tmp_path / "photos", 200), tmp_path / "out"
    listed = tmp_path / "list.csv"
    listed.write_text("id,path\n" + "".join(f"{one.stem},{one}\n" for one in sorted(photos.glob("*/*.png"))))
    process = start(listed, out, "--devices", "cpu,cpu", "--pack", "webdataset")
    wait_until(lambda: list(out.glob("webdataset/depth-*.tar")) or process.poll() is not None)
    running = children(process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert not any(one.is_running() for one in running)
    report = json.loads((out / "report.json").read_text())
    assert report["stopped_by"] == "Ctrl-C"
    assert report["images"] < 200
    words = ["images", listed, "--process-res", 28, "--export-format", FORMATS, "--batch-size", 1]
    again = json.loads(da3(*words, "-o", out, "--pack", "webdataset", "--resume", "--json").out)
    assert again["images"] + again["skipped"] == 200
    assert again["skipped"] >= max(1, report["images"])
    assert not [one for one in out.rglob(".*") if one.is_file()]
