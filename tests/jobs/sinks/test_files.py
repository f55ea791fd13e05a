"""Files of stored images, in a folder and in an object store."""

from __future__ import annotations

import uuid

import fsspec
import pytest

from depth_anything_3.errors import InvalidInputError
from support.command import files_in


def test_a_folder_has_a_manifest_and_no_file_outside(tmp_path, opened, prediction):
    out = tmp_path / "out"
    with opened(out) as sink:
        for id in ("room/1.jpg", "../../up"):
            sink.write(id, f"s3://b/{id}", prediction)
    (odd,) = (one for one in files_in(tmp_path) if "up" in one)
    assert odd.startswith("out/depth_png/")
    assert "out/depth_png/room/1.jpg.png" in files_in(tmp_path)
    with opened(out, resume=True) as sink:
        assert sink.is_done("room/1.jpg", "s3://b/room/1.jpg")
        assert not sink.is_done("room/1.jpg", "s3://other/room/1.jpg")
        assert not sink.is_done("2", "s3://b/2")
    with opened(out, resume=True, settings={"process_res": 7}) as sink, pytest.raises(InvalidInputError, match="other"):
        sink.is_done("room/1.jpg", "s3://b/room/1.jpg")


def test_a_store_gets_the_files_and_a_resumed_run_skips_complete_ones(opened, prediction):
    address = f"memory://{uuid.uuid4().hex}/depth"
    with opened(address, formats="depth_png-tiff") as sink:
        assert sink.write("a", "a", prediction) == [f"{address}/depth_png/a.png", f"{address}/tiff/a.tiff"]
        sink.write("b", "b", prediction)
    store = fsspec.filesystem("memory")
    store.rm_file(f"{address}/tiff/b.tiff")
    assert store.cat_file(f"{address}/depth_png/a.png").startswith(b"\x89PNG")
    with opened(address, formats="depth_png-tiff", resume=True) as sink:
        assert [sink.is_done(one, one) for one in "abc"] == [True, False, False]
    with pytest.raises(InvalidInputError, match="other settings"):
        opened(address, resume=True, settings={"process_res": 7})
    left = ["da3-settings.json", "tiff/a.tiff"]  # results of other formats stay
    store.rm_file(f"{address}/da3-settings.json")
    with pytest.raises(InvalidInputError, match=r"no da3-settings\.json"):
        opened(address, resume=True)
    with opened(address, resume=True, overwrite=True) as sink:
        assert not sink.is_done("a", "a")
    assert store.find(address) == [f"/{address.removeprefix('memory://')}/{one}" for one in left]


def test_files_without_a_manifest_are_resumed_and_temporary_files_removed(tmp_path, opened, prediction):
    with opened(tmp_path, has_manifest=False) as sink:
        sink.write("room/1.jpg", "1", prediction)
    temporary = f".{uuid.uuid4().hex}.png"
    (tmp_path / "depth_png" / "room" / temporary).write_bytes(b"")
    with opened(tmp_path, has_manifest=False, resume=True) as sink:
        assert [sink.is_done(one, one) for one in ("room/1.jpg", "2.jpg")] == [True, False]
        assert sink.complete == {"depth_png/room/1.jpg.png"}
    assert files_in(tmp_path) == ["da3-settings.json", "depth_png/room/1.jpg.png"]


def test_several_processes_do_not_continue_what_one_has_recorded(tmp_path, opened, prediction):
    """It may have replaced results whose settings stand in the folder."""
    with opened(tmp_path, has_manifest=False) as sink:
        sink.write("1", "1", prediction)
    with opened(tmp_path, settings={"process_res": 7}, resume=True) as sink:
        assert not sink.is_done("1", "1")
        sink.write("1", "1", prediction)
    with pytest.raises(InvalidInputError, match="has results of a run in one process"):
        opened(tmp_path, has_manifest=False, resume=True)
