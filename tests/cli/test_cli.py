"""The `da3` command: what it writes, prints and exits with.

Each command runs once as a process of its own, all of them side by side; the rest runs in this process.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from depth_anything_3 import __version__, cli
from depth_anything_3.cli.messages import in_flags
from depth_anything_3.errors import InvalidInputError
from support.seeded_values import seeded_images_uint8

DONE, FAILURES, MISUSE = 0, 1, 2


@dataclass
class Run:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Two pictures and a damaged one between them."""
    folder = tmp_path_factory.mktemp("photos")
    for name, picture in zip("ac", seeded_images_uint8(2, 56, 84, seed=4), strict=True):
        Image.fromarray(picture).save(folder / f"{name}.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:60])
    return folder


@pytest.fixture
def da3(monkeypatch, capsys, small_checkpoint):
    """Runs the command in this process, with the small checkpoint where none is named."""

    def run(*arguments: object) -> Run:
        words = ["da3", *map(str, arguments)]
        if words[1:2] in (["image"], ["images"], ["auto"]) and "--model-dir" not in words:
            words += ["--model-dir", str(small_checkpoint)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return Run(int(left.value.code or 0), captured.out, captured.err)

    return run


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# As processes


@pytest.fixture(scope="module")
def processes(photos, small_checkpoint, tmp_path_factory):
    """Starts every command at once; gives a function that waits for one, and the folder it wrote to."""
    out = tmp_path_factory.mktemp("out")
    command = shutil.which("da3", path=os.fspath(Path(sys.executable).parent))
    model = ["--model-dir", str(small_checkpoint), "--device", "cpu", "--process-res", "98"]
    lines = {
        "image": ["image", photos / "a.png", *model],
        "images": ["images", photos, *model, "--json", "--batch-size", "2"],
        "auto": ["auto", photos / "a.png", photos / "c.png", *model, "--export-format", "depth_png"],
        "demo": ["demo", photos / "a.png", photos / "b.png"],
    }
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(out / "cache"), "OMP_NUM_THREADS": "1"}
    started = {
        name: subprocess.Popen(
            [command, *map(str, line), "--export-dir", str(out / name)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )
        for name, line in lines.items()
    }

    def finished(name: str) -> tuple[Run, Path]:
        process = started.pop(name)
        printed = process.communicate()
        return Run(process.returncode, *printed), out / name

    yield finished
    for process in started.values():
        process.kill()
        process.communicate()


def test_da3_image_writes_depth_and_one_honest_line(processes):
    run, out = processes("image")
    assert (run.code, run.err) == (DONE, "")
    assert files_in(out) == ["depth_vis/0000.jpg", "exports/npz/results.npz"]
    first, second, third = run.out.splitlines()
    assert first.startswith("1 image(s) in ")
    assert first.endswith(f" on cpu; written to {out}")
    assert second.startswith("ms per image: decode ")
    assert third == "strategy: cpu 1"


def test_da3_images_goes_on_without_a_damaged_one_and_reports_as_json(processes, photos):
    run, out = processes("images")
    assert run.code == FAILURES
    assert files_in(out) == ["depth_vis/a.jpg", "depth_vis/c.jpg", "npz/a.npz", "npz/c.npz", "report.json"]
    report = json.loads(run.out)
    assert json.loads((out / "report.json").read_text()) == report
    assert report["images"] == 2
    assert (report["device"], report["network"], report["export_dir"]) == ("cpu", "da3-small", str(out))
    assert report["images_per_second"] == pytest.approx(2 / report["wall_seconds"])
    (failure,) = report["failures"]
    assert failure["image"] == str(photos / "b.png")
    (line,) = run.err.splitlines()
    assert line == f"failed {in_flags(failure['error'])}"
    assert line.startswith(f"failed {photos / 'b.png'}: truncated PNG")
    assert "Copy it again, decode what there is with --allow-truncated, or pass --on-error skip" in line


def test_da3_auto_takes_several_files_as_independent_images(processes):
    run, out = processes("auto")
    assert (run.code, run.err) == (DONE, "")
    assert files_in(out) == ["depth_png/a.png", "depth_png/c.png", "report.json"]
    assert run.out.startswith("2 image(s) in ")


def test_da3_demo_takes_images_with_the_model_in_the_package(processes, photos):
    run, out = processes("demo")
    assert run.code == FAILURES  # of one of two, which does not stop the other
    notice, failed = run.err.splitlines()
    assert notice.startswith("da3-nano is a demonstration: ")
    assert notice.endswith("For real work: --model-dir depth-anything/DA3-BASE")
    assert failed.startswith(f"failed {photos / 'b.png'}: truncated PNG")
    assert files_in(out) == ["depth/a.jpg", "glb/a.glb", "overview.jpg", "ply/a.ply"]
    head, _, row, lens, where, whole, summary, stages, _ = (line for line in run.out.splitlines() if line.strip())
    assert head.split() == ["image", "size", "decode", "+", "resize", "network"]
    assert re.fullmatch(r" *a +84x56 +\d+ ms +\d+ ms *", row)
    assert lens.startswith("no focal length in the EXIF block of a: 3D points assume a field of view of 60 degrees ")
    assert where == f"overview: {out}/overview.jpg; each image: depth/, ply/, glb/ beside it"
    assert whole.endswith(" s with start-up; without:")
    assert summary.startswith("1 image(s) in ")
    assert stages.startswith("ms per image: decode ")


def test_da3_demo_alone_compares_three_images_with_their_true_depth(da3, tmp_path):
    run = da3("demo", "--device", "cpu", "--export-dir", tmp_path)
    assert run.code == DONE
    head, _, *rows = (line for line in run.out.splitlines() if line.strip())
    assert head.split()[-3:] == ["depth", "error", "(AbsRel)"]
    for name, row in zip(("street", "table", "hall"), rows, strict=False):
        assert re.fullmatch(rf" *{name} +3840x2160 +\d+ ms +\d+ ms +\d+\.\d% *", row)
    assert files_in(tmp_path / "depth") == ["hall.jpg", "street.jpg", "table.jpg"]
    assert "focal length" not in run.out  # it is in the files


# Layout of results


@pytest.mark.parametrize("command", ["images", "auto"])
def test_scene_writes_upstreams_layout_and_lists_missing_views(da3, photos, tmp_path, command):
    run = da3(command, photos, "--scene", "--process-res", 56, "--export-dir", tmp_path, "--export-format", "npz")
    assert run.code == FAILURES
    assert files_in(tmp_path) == ["exports/npz/results.npz"]
    with np.load(tmp_path / "exports" / "npz" / "results.npz") as file:
        assert file["depth"].shape == (2, 42, 56)
    assert run.err.startswith(f"failed {photos / 'b.png'}: ")
    assert run.out.startswith("2 image(s) in ")
    assert ", 1 failed; written to" in run.out


def test_auto_takes_one_file_as_a_scene_of_one_as_upstream(da3, photos, tmp_path):
    assert da3("auto", photos / "a.png", "--process-res", 56, "--export-dir", tmp_path).code == DONE
    assert files_in(tmp_path) == ["depth_vis/0000.jpg", "exports/npz/results.npz"]


def test_resume_skips_what_is_there_and_tries_again_what_failed(da3, photos, tmp_path):
    line = ("images", photos, "--process-res", 56, "--export-dir", tmp_path, "--export-format", "npz")
    da3("images", photos / "a.png", *line[2:])
    run = da3(*line, "--resume")
    assert run.code == FAILURES
    assert run.out.startswith("1 image(s) in ")
    assert f" on cpu, 1 there already, 1 failed; written to {tmp_path}\n" in run.out
    run = da3(*line, "--resume", "--json")
    report = json.loads(run.out)
    assert (run.code, report["images"], report["skipped"], len(report["failures"])) == (FAILURES, 0, 2, 1)


def test_results_go_to_the_folder_debug_unless_told_otherwise(da3, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert da3("images", photos / "a.png", "--process-res", 56).code == DONE
    assert files_in(tmp_path) == ["debug/depth_vis/a.jpg", "debug/npz/a.npz", "debug/report.json"]


def test_every_option_is_passed_on(da3, photos, tmp_path):
    shutil.copy(photos / "a.png", tmp_path / "a.scan")
    run = da3(
        *("images", tmp_path, "--image-extensions", "scan", "--export-dir", tmp_path, "--export-format", "npz"),
        *("--device", "cpu", "--dtype", "bfloat16", "--process-res", 56, "--process-res-method", "lower_bound_crop"),
        *("--batch-size", 2, "--num-workers", 1, "--on-error", "raise", "--exif", "ignore"),
        *("--use-ray-pose", "--ref-view-strategy", "first", "--auto-cleanup"),
    )
    assert (run.code, run.err) == (DONE, "")
    with np.load(tmp_path / "npz" / "a.npz") as file:
        assert file["depth"].shape == (1, 56, 84)


# What goes wrong


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["--export-format", "obj"], "'obj' is unknown", id="export-format"),
        pytest.param(["--device", "gpu"], "device 'gpu' cannot be used", id="device"),
        pytest.param(["--dtype", "half"], "--dtype half is unknown", id="dtype"),
        pytest.param(["--process-res", 13], "--process-res 13: give", id="process-res"),
        pytest.param(
            ["--process-res-method", "stretch"], "--process-res-method stretch is unknown", id="process-res-method"
        ),
        pytest.param(["--batch-size", 0], "--batch-size 0: give", id="batch-size"),
        pytest.param(["--batch-size", "many"], "--batch-size many: give a whole number", id="batch-size-word"),
        pytest.param(["--max-batch-size", 0], "--max-batch-size 0: give", id="max-batch-size"),
        pytest.param(["--target-memory-utilization", 2], "--target-memory-utilization 2.0: give", id="memory"),
        pytest.param(["--num-workers", 0], "--num-workers 0: give", id="num-workers"),
        pytest.param(["--on-error", "ignore"], "--on-error ignore is unknown", id="on-error"),
        pytest.param(["--exif", "yes"], "--exif yes is unknown", id="exif"),
        pytest.param(["--scene", "--ref-view-strategy", "best"], "best", id="ref-view-strategy"),
        pytest.param(["--image-extensions", "exr"], "no files ending in .exr", id="no-such-files"),
        pytest.param(["--strategy", "warp"], "--strategy warp is unknown; choose 'auto', 'gpu_decode'", id="strategy"),
        pytest.param(["--strategy", "hybrid", "--device", "cpu"], "--strategy hybrid needs a GPU", id="no-gpu"),
        pytest.param(["@gone.txt"], "gone.txt: the list of images cannot be read", id="no-list"),
        pytest.param(["none/*.jpg"], "none/*.jpg: no files ending in ", id="no-match"),
        pytest.param(["--scene", "--resume"], "--resume is for independent images", id="resume-of-a-scene"),
        pytest.param(["--max-pixels", 0], "--max-pixels 0: give a whole number", id="max-pixels"),
        pytest.param(["--max-bytes", -1], "--max-bytes -1: give a whole number", id="max-bytes"),
        pytest.param(["--infer-gs"], "--infer-gs with da3-small, which predicts no Gaussians", id="infer-gs"),
        pytest.param(["--fidelity", "good"], "--fidelity good is unknown; choose 'exact', 'high'", id="fidelity"),
    ],
)
def test_misuse_is_one_line_that_quotes_it(da3, photos, tmp_path, arguments, told):
    run = da3("images", photos, "--export-dir", tmp_path / "out", *arguments)
    assert (run.code, run.out) == (MISUSE, "")
    (line,) = run.err.splitlines()
    assert line.startswith("error ")
    assert told in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["images"], "Missing argument 'SOURCE", id="no-source"),
        pytest.param(["images", "a.jpg", "--bogus"], "No such option: --bogus", id="unknown-option"),
        pytest.param(["images", "a.jpg", "--process-res", "big"], "'--process-res'", id="not-a-number"),
        pytest.param(["imagine"], "No such command 'imagine'", id="unknown-command"),
        pytest.param(["image", "a.jpg", "b.jpg"], "da3 image takes one image, not 2", id="two-for-one"),
    ],
)
def test_a_line_that_cannot_be_parsed_is_misuse_without_a_traceback(da3, arguments, told):
    run = da3(*arguments)
    assert (run.code, run.out) == (MISUSE, "")
    assert told in run.err
    assert "Traceback" not in run.err


def test_a_demo_by_a_strategy_that_this_machine_lacks_is_misuse(da3, tmp_path):
    run = da3("demo", "--device", "cpu", "--strategy", "full_gpu", "--export-dir", tmp_path / "demo")
    assert (run.code, run.out) == (MISUSE, "")
    assert "--strategy full_gpu needs a GPU" in run.err
    assert not (tmp_path / "demo").exists()


def test_a_format_that_is_unknown_is_told_before_weights_are_looked_for(da3):
    run = da3("images", "a.jpg", "--model-dir", "/no/such/checkpoint", "--export-format", "obj")
    assert run.code == MISUSE


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["images", "{photos}", "--on-error", "raise"], "{photos}/b.png: truncated", id="raise"),
        pytest.param(["images", "{photos}", "--model-dir", "/no/model"], "/no/model: no such folder", id="no-model"),
        pytest.param(["images", "{photos}", "--model-dir", "test/NONE"], "test/NONE: config.json is nei", id="offline"),
        pytest.param(["image", "{photos}/a.png", "--export-dir", "{photos}/c.png"], "cannot be written", id="export"),
    ],
)
def test_what_cannot_be_read_or_written_is_one_line_that_names_it(da3, photos, tmp_path, monkeypatch, arguments, told):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    command, *rest = (word.format(photos=photos) for word in arguments)
    run = da3(command, "--process-res", 56, "--export-dir", tmp_path, *rest)
    assert (run.code, run.out) == (FAILURES, "")
    (line,) = run.err.splitlines()
    assert line.startswith("error ")
    assert told.format(photos=photos) in line


@pytest.mark.parametrize(("name", "told"), [("b.png", "truncated PNG"), ("z.png", "no such file")])
def test_a_single_image_that_cannot_be_read_is_reported_like_one_of_many(da3, photos, tmp_path, name, told):
    run = da3("image", photos / name, "--export-dir", tmp_path)
    assert run.code == FAILURES
    assert run.err.startswith(f"failed {photos / name}: {told}")
    assert run.out.startswith("0 image(s)")
    report = json.loads(da3("image", photos / name, "--export-dir", tmp_path, "--json").out)
    assert (report["images"], report["failures"][0]["image"]) == (0, str(photos / name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["[draft] photo.png", "x[red]y.png", "sun :sunny: day.png"])
def test_a_name_with_brackets_is_printed_as_it_is(da3, tmp_path, name):
    folder = tmp_path / f"[bold]{name}.d"
    folder.mkdir()
    (folder / name.replace("/", "")).write_bytes(b"no picture")
    run = da3("images", folder, "--export-dir", folder / "out")
    assert run.code == FAILURES
    assert run.err.startswith(f"failed {folder / name.replace('/', '')}: not an image")
    assert da3("image", folder / "[/gone]").err == f"failed {folder / '[/gone]'}: no such file\n"
    assert da3("images", folder / "[/gone]", "--on-error", "raise").err == f"error {folder / '[/gone]'}: no such file\n"


@pytest.mark.parametrize("name", [b"\xff\xfe.png", b"new\nline.png", b"\x1b]0;title\x07.png"], ids=ascii)
def test_a_name_that_is_no_text_or_would_move_the_terminal_is_told_escaped(da3, photos, tmp_path, name):
    folder = os.path.join(os.fsencode(tmp_path), b"photos \xff")
    os.mkdir(folder)
    shutil.copy(photos / "a.png", os.path.join(folder, b"good " + name))
    shutil.copy(photos / "b.png", os.path.join(folder, b"bad " + name))
    run = da3("images", os.fsdecode(folder), "--process-res", 56, "--export-dir", os.fsdecode(folder + b"/out"))
    assert run.code == FAILURES
    (line,) = run.err.splitlines()
    assert line.isprintable()
    assert line.startswith(f"failed {tmp_path}/photos \\udcff/bad {repr(os.fsdecode(name))[1:-1]}: truncated PNG")
    assert len(os.listdir(folder + b"/out/npz")) == 1
    report = json.loads(da3("images", os.fsdecode(folder), "--process-res", 56, "--json", "--export-dir", tmp_path).out)
    assert report["failures"][0]["image"] == os.fsdecode(os.path.join(folder, b"bad " + name))


@pytest.mark.parametrize("words", [["--debug", "images", "{}"], ["images", "{}", "--debug"]], ids=["before", "after"])
def test_debug_lets_the_traceback_through_wherever_it_stands(photos, monkeypatch, words):
    line = [word.format(photos) for word in words]
    monkeypatch.setattr(sys, "argv", ["da3", *line, "--export-format", "obj"])
    with pytest.raises(InvalidInputError, match="'obj'"):
        cli.main()


def test_behind_two_dashes_debug_is_a_name(da3, small_checkpoint, tmp_path):
    run = da3("image", "--export-dir", tmp_path, "--model-dir", small_checkpoint, "--", "--debug")
    assert run.err == "failed --debug: no such file\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_stop_ends_with_one_line(da3, photos, monkeypatch, number, code):
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(
        sys.modules["depth_anything_3.cli.images"], "load_model", lambda *_, **__: signal.raise_signal(number)
    )
    run = da3("images", photos)
    assert (run.code, run.out) == (code, "")
    assert run.err.strip() == "stopped; what was written is whole"
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.parametrize(
    ("option", "told"),
    [
        pytest.param(
            ["--max-pixels", 4703], "claims 84x56 pixels, more than the 4,703.*raise --max-pixels", id="pixels"
        ),
        pytest.param(["--max-bytes", 999], r"bytes, more than the 999 that are read.*raise --max-bytes", id="bytes"),
    ],
)
def test_a_limit_refuses_what_is_beyond_and_tells_how_to_raise_it(da3, photos, tmp_path, option, told):
    run = da3("image", photos / "a.png", "--export-dir", tmp_path, *option)
    assert (run.code, files_in(tmp_path)) == (FAILURES, [])
    assert re.fullmatch(f"failed {photos / 'a.png'}: .*{told}", run.err.strip())


def test_a_cut_file_is_decoded_as_far_as_it_goes_if_that_is_allowed(da3, photos, tmp_path):
    run = da3("image", photos / "b.png", "--process-res", 56, "--export-dir", tmp_path, "--allow-truncated")
    assert (run.code, len(files_in(tmp_path))) == (DONE, 2)
    assert run.err.startswith(f"warning {photos / 'b.png'}: cut or damaged (")


# Which images


def test_images_come_from_folders_below_patterns_and_lists(da3, photos, tmp_path, monkeypatch):
    for name in ("x/a.png", "y/a.png"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(photos / "a.png", tmp_path / name)
    (tmp_path / "list.txt").write_text("x/a.png\ny/a.png\n")
    monkeypatch.chdir(tmp_path)
    options = ("--process-res", 56, "--export-format", "depth_png", "--export-dir")
    written = ["depth_png/x_a.png.png", "depth_png/y_a.png.png", "report.json"]
    for source in (["@list.txt"], ["**/*.png"], [".", "--recursive"]):  # the results before are no images
        run = da3("images", *source, *options, "out")
        assert (run.code, run.err) == (DONE, "")
        assert files_in(tmp_path / "out") == written
    run = da3("images", ".", *options, "out", "--recursive", "--resume")
    assert run.out.startswith("0 image(s) in ")
    assert "2 there already" in run.out


# Help


def test_version_is_the_packages(da3):
    assert da3("--version") == Run(DONE, f"da3 {__version__}\n", "")


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["images", "--help"], ["demo", "-h"]], ids=" ".join)
def test_help_is_there(da3, words):
    run = da3(*words)
    assert (run.code, run.err) == (DONE, "")
    assert "Usage: " in run.out
