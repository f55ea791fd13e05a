"""Every file of the corpus is decoded or rejected as expected, from a path, from bytes, and by every strategy."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

from depth_anything_3.errors import DA3Error, ImageDecodeError, ImageReadError, ImageSizeError
from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.batch.processor import BatchProcessor
from depth_anything_3.inputs.image_source import read_file
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.corpus.cases import corpus
from support.corpus.outcome import PAGE, all_mistakes, decoded, mistakes, table
from support.fake_gpu import Opener, gpu_with
from support.images import encoded, jpeg, write
from support.png_builder import chunk

# Pillow also warns about damage in TIFFs; the command does not show them.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

GROUPS = list(dict.fromkeys(case.group for case in corpus()))
ROUNDING = 1  # level, between strategies


@pytest.mark.parametrize("group", GROUPS)
def test_every_file_is_decoded_or_rejected_alike_from_path_and_bytes(tmp_path, group):
    wrong = []
    for number, case in enumerate(case for case in corpus() if case.group == group):
        for image in (case.data, write(tmp_path / f"{number}{case.suffix}", case.data)):
            try:
                found: np.ndarray | Exception = decoded(image)
            except Exception as error:
                found = error
                assert f"{number}{case.suffix}: " in str(error) or isinstance(image, bytes)
            mistake = mistakes(case, found, case.pixels, case.levels)
            if mistake:
                wrong.append(f"{case}: {mistake}")
    assert wrong == []


@pytest.mark.parametrize(
    ("strategy", "decoder"),
    [("cpu", None), ("hybrid", "exact"), ("full_gpu", "exact"), ("gpu_decode", "exact"), ("gpu_decode", "picky"),
     ("auto", "failing")],
)  # fmt: skip
def test_every_strategy_gives_the_same_for_every_file(strategy, decoder):
    if decoder is None:
        processor: BatchProcessor = InputProcessor()
    else:
        processor = GPUInputProcessor("cpu", capabilities=gpu_with(decoder), open_decoder=Opener())
    with processor:
        assert all_mistakes(processor, strategy, ROUNDING) == []


def test_the_table_in_the_docs_counts_every_file_and_no_failure():
    """How many truncated and flipped files decode and how many are rejected also depends on Pillow's version."""

    def tried_and_wrong(text: str) -> list[tuple[str, str, str]]:
        rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.endswith(" |")]
        return [(row[0], row[1], row[4]) for row in rows if len(row) == 5]

    now = tried_and_wrong(table(corpus()))
    assert {wrong for _, _, wrong in now[1:]} == {"0"}
    assert tried_and_wrong(PAGE.read_text(encoding="utf-8")) == now, (
        "run: PYTHONPATH=tests python -m support.corpus.outcome"
    )


# Memory


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux to measure")
def test_a_bomb_is_rejected_before_memory_is_allocated():
    bombs = [case for case in corpus() if case.group == "bombs" and case.pixels is None]
    preparer = ImagePreparer()

    def peak() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    for case in bombs:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before = peak()
        with pytest.raises(DA3Error):
            preparer(0, case.data)
        assert peak() - before < 16_000, f"{case}: {peak() - before:,} kB"


# Time


def tiny_segments(kind: str) -> bytes:
    """An image with half a million pieces of nothing in it, which readers in Python go through one by one."""
    many, rgb = 500_000, np.zeros((42, 56, 3), np.uint8)
    data = encoded(rgb, kind.partition(" ")[0])
    empty, text = chunk(b"teSt", b""), b"\x21\xfe\1a\0"
    at, piece = {
        "JPEG segments": (20, b"\xff\xe5\0\2"),
        "JPEG markers": (20, b"\xff\x01"),
        "PNG chunks": (33, empty),
        "PNG chunks behind the pixels": (-12, empty),
        "PNG pixels": (33, chunk(b"IDAT", b"")),
        "GIF comments": (data.find(b"\x2c"), text),
        "GIF comment": (data.find(b"\x2c"), text[2:4]),
        "JPEG2000 boxes": (12, b"\0\0\0\x08teSt"),
        "PPM spaces": (2, b" "),
    }[kind]
    begun, ended = (text[:2], b"\0") if kind == "GIF comment" else (b"", b"")
    return data[:at] + begun + piece * many + ended + data[at:]


@pytest.mark.parametrize(
    "kind",
    ["JPEG segments", "JPEG markers", "PNG chunks", "PNG chunks behind the pixels", "PNG pixels", "GIF comments",
     "GIF comment", "JPEG2000 boxes", "PPM spaces"],
)  # fmt: skip
def test_a_file_of_tiny_segments_is_rejected_before_it_is_scanned(kind):
    with pytest.raises(ImageDecodeError, match=r"many small chunks|segments before its pixels"):
        ImagePreparer(PreprocessOptions(process_res=56))(0, tiny_segments(kind))


@pytest.mark.parametrize("kind", ["QOI", "BMP"])
def test_an_image_read_in_small_chunks_is_accepted(kind):
    noise = np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8)
    data = encoded(noise, kind) if kind == "QOI" else run_length_bmp(400, 700)
    assert ImagePreparer(PreprocessOptions(process_res=56))(0, data).pixels.shape[0] == 3


def run_length_bmp(width: int, height: int) -> bytes:
    """Of 8 bits, in runs of two pixels."""
    pixels = (b"\2\7" * (width // 2) + b"\0\0") * height + b"\0\1"
    sizes = (40, width, height, 1, 8, 1, len(pixels), 0, 0, 256, 256)
    header = struct.pack("<IHHI", 1078 + len(pixels), 0, 0, 1078) + struct.pack("<IiiHHIIiiII", *sizes)
    return b"BM" + header + bytes(1024) + pixels


# What is no regular file


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.jpg")
    return folder / "pipe.jpg"


def bound_socket(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as one, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # such names may not be long
        one.bind("s.jpg")
    return folder / "s.jpg"


def loop(folder: Path) -> Path:
    (folder / "a.jpg").symlink_to("b.jpg")
    (folder / "b.jpg").symlink_to("a.jpg")
    return folder / "a.jpg"


def link(folder: Path, target: str) -> Path:
    (folder / "link.jpg").symlink_to(target)
    return folder / "link.jpg"


def sparse(folder: Path) -> Path:
    with (folder / "8 GB.jpg").open("wb") as file:
        file.write(jpeg())
        file.truncate(8 << 30)
    return folder / "8 GB.jpg"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        pytest.param(lambda folder: folder, ImageReadError, "is a folder", id="folder"),
        pytest.param(lambda folder: link(folder, "."), ImageReadError, "is a folder", id="link to a folder"),
        pytest.param(lambda folder: folder / "none.jpg", ImageReadError, "no such file", id="nothing"),
        pytest.param(lambda folder: link(folder, "none"), ImageReadError, "no such file", id="link to nothing"),
        pytest.param(loop, ImageReadError, "cannot be read .*symbolic links", id="links in a circle"),
        pytest.param(fifo, ImageReadError, "not a regular file", id="pipe"),
        pytest.param(bound_socket, ImageReadError, "not a regular file", id="socket"),
        pytest.param(lambda folder: link(folder, "/dev/zero"), ImageReadError, "not a regular file", id="device"),
        pytest.param(lambda folder: Path("/proc/self/mem"), ImageReadError, "empty|cannot be read", id="proc"),
        pytest.param(lambda folder: write(folder / "a.jpg", b""), ImageReadError, "the file is empty", id="empty"),
        pytest.param(lambda folder: folder / "x.jpg" / "y", ImageReadError, "no such file", id="below a file"),
        pytest.param(lambda folder: folder / ("x" * 300), ImageReadError, "cannot be read", id="name too long"),
        pytest.param(sparse, ImageSizeError, "8,589,934,592 bytes.*raise max_bytes", id="sparse file of 8 GB"),
    ],
)
def test_pipes_and_devices_are_rejected_without_blocking(tmp_path, make, error, message):
    path = make(tmp_path)
    with pytest.raises(error, match=message) as caught:
        ImagePreparer()(0, path)
    assert str(path) in str(caught.value)


def test_a_pipe_that_replaces_a_file_while_opening_does_not_block(tmp_path, monkeypatch):
    path = fifo(tmp_path)
    regular = os.stat(write(tmp_path / "a.jpg", jpeg()))
    monkeypatch.setattr(os, "stat", lambda _: regular)
    with pytest.raises(ImageReadError, match="not a regular file"):
        read_file(path)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has other permissions")
def test_a_file_without_permission_is_named(tmp_path):
    path = write(tmp_path / "mine.jpg", jpeg())
    path.chmod(0)
    was_root = os.geteuid() == 0
    if was_root:  # who may read everything
        os.seteuid(65_534)
    try:
        with pytest.raises(ImageReadError, match=r"mine\.jpg: cannot be read \(Permission denied\)"):
            ImagePreparer()(0, path)
    finally:
        if was_root:
            os.seteuid(0)


def test_a_pipe_among_the_files_costs_only_itself(tmp_path):
    images = [jpeg(), fifo(tmp_path), jpeg()]
    done = []
    worker = threading.Thread(target=lambda: done.append(InputProcessor()(images, process_res=56, on_error="skip")))
    worker.start()
    worker.join(60)
    assert [len(one.images) for one in done] == [2]


NAMES = [b"new\nline.jpg", b"\xff\xfe not UTF-8.jpg", b" .jpg", "日本 é.jpg".encode(),
                                    b"-.jpg", b"\x1b[31mred.jpg", b"a" * 251 + b".jpg"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_file_is_read_whatever_its_name(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    Path(os.fsdecode(path)).write_bytes(jpeg())
    assert ImagePreparer(PreprocessOptions(process_res=56))(0, os.fsdecode(path)).pixels.shape == (3, 42, 56)
