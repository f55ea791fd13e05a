from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from depth_anything_3.errors import ImageReadError, ImageSizeError, ImageTypeError, InvalidInputError
from depth_anything_3.inputs.given_images import expand_images, read_open_files
from depth_anything_3.inputs.image_source import as_source
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.images import jpeg, write

PIXELS = np.zeros((4, 5, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """A folder with two images, one in a subfolder, and a file that is no image."""
    (tmp_path / "sub").mkdir()
    for name in ("b.jpg", "a.JPG", "sub/c.jpg"):
        write(tmp_path / name, jpeg(42, 28))
    write(tmp_path / "notes.txt", b"no image")
    return tmp_path


def files(given) -> list[str]:
    return [Path(one).as_posix() for one in given.images]


@pytest.mark.parametrize(
    "image",
    [
        "missing.jpg",
        Path("missing.jpg"),
        "https://example.com/photo.jpg?size=3",
        b"file",
        bytearray(b"file"),
        memoryview(b"file"),
        io.BytesIO(b"file"),
        Image.new("L", (2, 2)),
        PIXELS,
        PIXELS[..., 0],
        torch.zeros(3, 4, 4, dtype=torch.uint8),
        as_source(PIXELS),
    ],
    ids=["str", "path", "address", "bytes", "bytearray", "memoryview", "open file", "PIL", "array", "grey array",
         "tensor", "source"],
)  # fmt: skip
def test_an_image_that_is_given_alone_is_one_image(image):
    given = expand_images(image)
    assert given.is_one
    (only,) = given.images
    assert only is image


def test_a_folder_and_a_pattern_are_their_images(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert files(expand_images(".")) == ["a.JPG", "b.jpg"]
    assert files(expand_images(folder)) == [(folder / one).as_posix() for one in ("a.JPG", "b.jpg")]
    assert files(expand_images("sub")) == ["sub/c.jpg"]
    assert files(expand_images("?.jpg")) == ["b.jpg"]
    assert files(expand_images("**/*.jpg")) == ["b.jpg", "sub/c.jpg"]
    assert files(expand_images("**/*.jpg", exclude=[Path("sub")])) == ["b.jpg"]
    assert not expand_images("sub").is_one
    assert expand_images("sub/*.jpg").folder == Path("sub")
    write(folder / "x?.jpg", jpeg(42, 28))
    assert expand_images("x?.jpg").is_one  # a file of that name


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("empty", "empty: no files ending in .*, which is empty"),
        ("outer", r"outer: no files .*; its subfolders have some: pass 'outer/\*\*'"),
        ("*.gif", r"\*\.gif: no files ending in .* match this pattern"),
        (None, "images of type NoneType; give an image, a list .*, a folder, or a pattern"),
        (42, "images of type int"),
    ],
)
def test_what_has_no_images_is_named(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "outer/inner").mkdir(parents=True)
    write(tmp_path / "outer/inner/a.jpg", b"")
    with pytest.raises(InvalidInputError, match=message):
        expand_images(source)


def test_an_array_of_four_axes_is_a_batch_and_a_column_of_paths_a_list():
    for batch in (np.zeros((2, 4, 5, 3), np.uint8), torch.zeros((2, 3, 4, 5), dtype=torch.uint8)):
        given = expand_images(batch)
        assert [one.shape for one in given.images] == [batch.shape[1:]] * 2
        assert not given.is_one
    assert files(expand_images(np.array(["a.jpg", "b.jpg"]))) == ["a.jpg", "b.jpg"]


def test_an_iterable_is_not_consumed_and_its_folders_are_not_expanded(folder):
    generator = (one for one in [folder])
    given = expand_images(generator)
    assert given.images is generator
    with pytest.raises(ImageReadError, match="is a folder; pass it alone instead of in a list, or pass its files"):
        InputProcessor()([folder])
    with pytest.raises(ImageReadError, match=r"no such file; if it is a pattern, pass it alone instead of in a list"):
        InputProcessor()(["*.jpg"])


# Open files


class Unseekable(io.RawIOBase):
    """A pipe that returns a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._rest = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        part = self._rest.read(min(1000, len(buffer)))
        buffer[: len(part)] = part
        return len(part)


@pytest.fixture
def opened(tmp_path):
    """One JPEG as open files of several kinds, each behind bytes that were read before."""
    data = jpeg(56, 42)
    path = write(tmp_path / "photo.jpg", data)
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("in/photo.jpg", data)
    behind = io.BytesIO(b"header" + data)
    behind.seek(6)
    temporary = tempfile.TemporaryFile()  # noqa: SIM115 (collected)
    shutil.copyfileobj(io.BytesIO(data), temporary)
    temporary.seek(0)
    with path.open("rb") as file, path.open("rb", buffering=0) as raw, zipfile.ZipFile(archive) as zipped:
        yield {
            str(path): file,
            "image 1 (BytesIO)": behind,
            "image 2 (Unseekable)": Unseekable(data),
            "in/photo.jpg": zipped.open("in/photo.jpg"),
            "image 4 (BufferedRandom)": temporary,
            str(path) + " ": raw,
        }
    temporary.close()


@pytest.mark.parametrize("executor", ["thread", pytest.param("process", marks=pytest.mark.slow)])
def test_open_files_are_read_from_their_position_and_stay_open(opened, executor):
    with InputProcessor() as processor:
        batch = processor(list(opened.values()), process_res=56, executor=executor)
        alone = processor(io.BytesIO(jpeg(56, 42)), process_res=56)
    assert [one.label for one in batch.images] == [one.strip() for one in opened]
    assert not any(one.closed for one in opened.values())
    assert all(torch.equal(one, alone.tensor[0]) for one in batch.tensor)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: path.open(), ImageTypeError, r"text\.jpg: the file is open in text mode; open it with 'rb'"),
        (lambda path: io.StringIO("text"), ImageTypeError, "image 0 .StringIO.: the file is open in text mode"),
        (lambda path: io.BytesIO(), ImageReadError, r"is empty, or was read to its end before; file\.seek\(0\)"),
        (lambda path: io.BytesIO(bytes(101)), ImageSizeError, "101 bytes, more than the limit of 100"),
        (lambda path: path.open("wb"), ImageReadError, r"text\.jpg: cannot be read \(.*read"),
    ],
    ids=["text", "StringIO", "at its end", "too large", "write-only"],
)
def test_an_open_file_that_cannot_be_used_costs_one_image(tmp_path, make, error, message):
    with make(write(tmp_path / "text.jpg", b"text")) as file, InputProcessor() as processor:
        results = processor.iterate([file, PIXELS], process_res=28, max_bytes=100, on_error="skip")
        failure, other = results
        assert isinstance(failure.error, error)
        with pytest.raises(error, match=message):
            raise failure.error
        assert other.index == 1


def test_reading_open_files_keeps_other_images_as_they_are():
    kept = ["a.jpg", b"bytes", PIXELS]
    assert all(one is other for one, other in zip(read_open_files(kept, 10), kept, strict=True))
