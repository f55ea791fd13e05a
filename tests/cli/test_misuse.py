"""Messages about misuse are in the words of the command line, and name flags of their own command."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer

from depth_anything_3 import cli
from depth_anything_3.model import hub
from support.command import FAILURES, MISUSE

FLAGS = {
    name: {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
    for name, command in typer.main.get_command(cli.app).commands.items()
}
# Of the Python API: an argument with or without its value, and the words True, False and None.
PYTHON = re.compile(
    r"(?<![\w/\\?&.-])[a-z_]+=|(?<![\w/.'-])(?:[a-z]+_[a-z_]*[a-z])(?=[ ,;:)])|\b(?:True|False|None)\b|`\w+\("
)
PHRASES = {
    "depth_color",
    "depth_png",
    "depth_vis",
    "feat_vis",
    "mini_npz",
    "gs_ply",
    "gs_video",
    "gpu_decode",
    "full_gpu",
    "upper_bound_resize",
}
NANO = ("--model-dir", "da3-nano", "--device", "cpu")


@pytest.fixture(scope="module")
def files(photos, tmp_path_factory) -> Path:
    """A folder with images and with what is none."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("a.png", "b.png"):
        shutil.copy(photos / name, folder / name)
    shutil.copytree(photos, folder / "deep" / "photos")
    (folder / "empty").mkdir()
    (folder / "list.txt").write_text("a.png\n")
    (folder / "a.pdf").write_bytes(b"%PDF-1.7")
    (folder / "film.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0isom")
    np.savez(folder / "plain.npz", depth=np.ones((1, 14, 14), np.float32))
    return folder


MISUSES = [
    # numbers and choices
    ("images a.png --process-res 0", MISUSE, "--process-res 0: give a whole number"),
    ("images a.png --process-res -5", MISUSE, "--process-res -5: give a whole number"),
    ("images a.png --process-res abc", MISUSE, "'--process-res'"),
    ("images a.png --process-rez 98", MISUSE, "--process-res"),
    ("images a.png --batch-size x", MISUSE, "--batch-size x: give a whole number, 1 or more, 'auto' or 'all'"),
    ("images a.png --export-feat x", MISUSE, "--export-feat x: give layer numbers"),
    (
        "images a.png --export-feat 99 --export-format feat_vis",
        MISUSE,
        "--export-feat 99 with da3-nano; pass different",
    ),
    ("images deep --image-extensions ''", MISUSE, "--image-extensions '': give extensions of files"),
    ("demo a.png --process-res 5000000", FAILURES, "; pass a smaller --process-res;?$"),
    ("images a.png --conf-thresh-percentile 101", MISUSE, "--conf-thresh-percentile 101.0 is not a percentile"),
    ("images a.png --num-max-points 0", MISUSE, "--num-max-points 0: give"),
    ("colmap . --mixed-sizes x", MISUSE, "--mixed-sizes x is unknown; choose 'crop', 'pad'"),
    ("video film.mp4 --temporal smooth", MISUSE, "--temporal smooth is unknown; choose 'none', 'ema'"),
    ("video film.mp4 --end 0.5 --start 1", MISUSE, "--end 0.5 is not after --start 1"),
    ("video film.mp4 --end x", MISUSE, "--end x is not a time; give seconds"),
    ("video film.mp4 --fps 0", MISUSE, "--fps 0.0: give frames per second"),
    ("video film.mp4 --fps 1 --every 2", MISUSE, "--fps 1 and --every 2 both select frames"),
    ("video - --raw 3", MISUSE, "--raw 3: give WIDTHxHEIGHT"),
    ("video film.mp4 --raw 8x8:rgb24@1", MISUSE, "--raw 8x8:rgb24@1 requires standard input"),
    ("video film.mp4 --side-by-side --export-format npz", MISUSE, "--side-by-side and --full-size need the format mp4"),
    ("webcam film.mp4 --http 0 --temporal window", MISUSE, "--temporal window waits for later frames"),
    ("webcam film.mp4 --http 1:2:3", MISUSE, "--http 1:2:3: give PORT"),
    ("demo a.png --process-res 3", MISUSE, "--process-res 3: give a whole number"),
    # devices
    ("images a.png --device gpu", MISUSE, "--device gpu is unknown; a GPU is 'cuda'"),
    ("doctor --device gpu", MISUSE, "--device gpu is unknown; a GPU is 'cuda'"),
    ("images a.png --dtype half", MISUSE, "--dtype half is unknown; choose 'auto', 'float32'"),
    ("demo a.png --strategy hybrid --device cpu", MISUSE, "--strategy hybrid needs a GPU"),
    # formats
    ("images a.png --export-format png", MISUSE, "did you mean 'depth_png' or 'depth_color'?"),
    ("images a.png --export-format depth", MISUSE, "did you mean 'depth_png' or 'depth_vis' or 'depth_color'?"),
    ("images a.png --export-format npz,glb", MISUSE, "did you mean 'npz-glb'?"),
    ("images a.png --export-format ''", MISUSE, "--export-format '' is unknown"),
    (
        "video film.mp4 --export-format avi",
        MISUSE,
        "--export-format avi is unknown; join some of these with '-': mp4, ffv1",
    ),
    ("video film.mp4 --export-format ''", MISUSE, "--export-format '' is unknown; join some of these with '-': mp4"),
    ("export plain.npz --export-format avi", MISUSE, "depth_color, tiff, exr, ply, glb"),
    ("export plain.npz --export-format gs_ply", MISUSE, "gs_ply needs 3D Gaussians, .* on request; write points"),
    ("images a.png --export-format gs_ply", MISUSE, "pass --infer-gs with da3-giant"),
    ("images a.png --export-format feat_vis", MISUSE, "pass --export-feat 11, for example"),
    ("images a.png --export-format ply", MISUSE, "pass --metric with da3metric-large"),
    ("images a.png b.png --scene --export-format glb", MISUSE, "glb needs camera poses"),
    ("images a.png --focal 3", MISUSE, "add --metric"),
    ("images a.png --metric --focal 3 --fov 4", MISUSE, "--focal 3.0 and --fov 4.0 both given"),
    ("images a.png --metric --fov 180", MISUSE, "--fov 180.0: pass degrees"),
    ("images a.png --metric", MISUSE, "depth of da3-nano has no unit"),
    ("video film.mp4 --scene --resume", MISUSE, "--resume does not work with --scene"),
    # inputs
    ("images list.txt", MISUSE, "a text file, not an image; if it lists images, give @list.txt"),
    ("images ftp://x.org/a.jpg", MISUSE, "ftp://x.org/a.jpg: images are read from disk"),
    ("demo https://x.org/a.jpg", MISUSE, "https://x.org/a.jpg: images are read from disk"),
    ("images deep", MISUSE, "its subfolders have some: pass --recursive$"),
    ("demo deep", MISUSE, "which is|in this folder$"),
    ("images empty", MISUSE, "in this folder, which is empty$"),
    ("image a.png b.png", MISUSE, "da3 image takes one image, but 2 were given"),
    ("image nothere.png", FAILURES, "nothere.png: no such file"),
    ("images @nothere.txt", FAILURES, "nothere.txt: the list of images cannot be read"),
    ("images a.pdf", FAILURES, "not an image of a supported format but a PDF document"),
    ("images film.mp4", FAILURES, r"a video \(MP4 or QuickTime\); use da3 video$"),
    ("images plain.npz", FAILURES, r"a NumPy archive \(.npz\); results are read by da3 export$"),
    ("images b.png", FAILURES, "To decode its intact part, pass --allow-truncated$"),
    ("images b.png --on-error raise", FAILURES, "pass --allow-truncated. To skip it, pass --on-error skip$"),
    ("image b.png --on-error raise", FAILURES, "To skip it, pass --on-error skip$"),
    ("images b.png --scene", FAILURES, "To decode its intact part, pass --allow-truncated$"),
    ("images a.png --max-pixels 9", FAILURES, "raise --max-pixels$"),
    ("images a.png --max-bytes 9", FAILURES, "raise --max-bytes$"),
    ("demo b.png", FAILURES, "Copy it again.$"),
    ("video a.pdf", FAILURES, "not a video but a PDF document"),
    ("video list.txt", FAILURES, "not a video but a text file"),
    ("video nothere.mp4", FAILURES, "nothere.mp4: cannot be opened"),
    ("video empty", MISUSE, "which is empty$"),
    ("webcam nothere.mp4 --http 0", FAILURES, "nothere.mp4: cannot be opened"),
    ("colmap nothere", FAILURES, "nothere: no such folder"),
    ("colmap a.png", FAILURES, "a.png: not a folder"),
    ("colmap deep", FAILURES, "deep: no sparse model"),
    ("export nothere.npz", FAILURES, "nothere.npz: no such file"),
    ("export a.png", FAILURES, "a.png: not an .npz archive"),
    # colours
    ("images a.png --colormap jet", MISUSE, "--colormap jet is unknown; choose 'spectral'"),
    ("images a.png --depth-range 5:1", MISUSE, "--depth-range 5:1: give the nearest"),
    ("images a.png --depth-range 1:5 --shared-range", MISUSE, "--depth-range and --shared-range both set"),
    ("images a.png --shared-range --resume", MISUSE, "--shared-range does not work with --resume"),
    ("images a.png --export-format depth_png --depth-scale 1000", MISUSE, "pass --force-depth-scale"),
    ("video film.mp4 --colormap jet", MISUSE, "--colormap jet is unknown"),
    ("webcam nothere.mp4 --colormap jet", MISUSE, "--colormap jet is unknown"),
    # models
    ("images a.png --model-dir da3-nanoo", FAILURES, "did you mean 'da3-nano'?"),
    ("images a.png --model-dir test/none", FAILURES, "pass --model-dir PATH .* or --model-dir da3-nano"),
    ("images a.png --model-dir da3metric-large", FAILURES, "pass --model-dir PATH with the folder of a local copy$"),
    ("images a.png --model-dir a.png", FAILURES, "a.png: not a folder"),
    ("images a.png --model-dir ''", FAILURES, "'': no such folder"),
    ("images a.png --export-dir a.png", FAILURES, "a.png: a file, so results cannot be written there"),
    ("export plain.npz --export-dir a.png", FAILURES, "a.png: a file, so results cannot be written there"),
    ("demo a.png --export-dir a.png", FAILURES, "a.png: a file, so results cannot be written there"),
    ("video film.mp4 --export-dir a.png", FAILURES, "a.png: a file, so results cannot be written there"),
]


@pytest.mark.parametrize(("line", "code", "message"), MISUSES, ids=[line for line, _, _ in MISUSES])
def test_misuse_is_reported_in_flags_of_its_command(da3, files, tmp_path, monkeypatch, line, code, message):
    monkeypatch.chdir(files)
    monkeypatch.setattr(hub, "why_unreachable", lambda _seconds: "no network in this test")
    command, *words = (word.strip("'") for word in line.split(" "))
    if command in ("images", "image", "video", "webcam", "colmap", "demo"):
        words += [*([] if "--model-dir" in words else NANO[:2]), *([] if "--device" in words else NANO[2:])]
    if command != "doctor" and command != "webcam" and "--export-dir" not in words:
        words += ["--export-dir", str(tmp_path)]
    run = da3(command, *words)
    assert run.code == code, run.err
    text = run.err.strip().splitlines()[-1]
    assert re.search(message, text), text
    assert [found[0] for found in PYTHON.finditer(text) if found[0] not in PHRASES] == []
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - FLAGS[command] <= {"--process-rez"}


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("images a.png --batch-size 2 --max-batch-size 3", ["--max-batch-size"]),
        ("images a.png --ref-view-strategy first --mixed-sizes pad", ["--ref-view-strategy", "--mixed-sizes"]),
        ("images a.png --scene --batch-size 2", ["--batch-size"]),
        ("image a.png --batch-size 2", ["--batch-size"]),
        ("images a.png --num-max-points 9 --feat-vis-fps 3", ["--num-max-points", "--feat-vis-fps"]),
        ("images a.png --export-format feat_vis-npz --export-feat 1 --feat-vis-fps 3", ["--feat-vis-fps"]),
        ("images a.png --no-show-cameras", ["--show-cameras"]),
        ("images a.png --upsampling linear", ["--upsampling"]),
        ("images a.png --export-format npz --process-res 70", []),
        ("images a.png --export-format npz --colormap turbo --depth-range 1:9", ["--colormap", "--depth-range"]),
        ("image a.png --shared-range --depth-scale 9", ["--shared-range", "--depth-scale"]),
        ("images a.png --export-format depth_color --colormap gray --force-depth-scale", ["--force-depth-scale"]),
        ("images a.png --export-format npz --output-size input --upsampling linear", []),
    ],
)
def test_flags_without_effect_are_named(da3, files, tmp_path, monkeypatch, line, flags):
    monkeypatch.chdir(files)
    run = da3(*line.split(), *NANO, "--export-dir", tmp_path)
    assert run.code == 0
    assert re.findall(r"^warning (--[a-z-]+) has no effect: ", run.err, re.MULTILINE) == flags
