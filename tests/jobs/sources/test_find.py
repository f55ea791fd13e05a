"""Sources of every kind, and what tells them apart."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import fsspec
import pytest

from depth_anything_3.errors import (
    ImageDecodeError,
    ImageReadError,
    InputFileError,
    InvalidInputError,
    UnsupportedError,
)
from depth_anything_3.jobs.shards import Shard
from depth_anything_3.jobs.sources.find import SourceOptions, find_stored
from depth_anything_3.jobs.sources.kind import is_stored
from depth_anything_3.jobs.sources.read_ahead import read_ahead
from depth_anything_3.jobs.sources.selection import Selection
from depth_anything_3.jobs.sources.store import Store, _file_system, read_object
from depth_anything_3.jobs.sources.stored_image import StoredImage
from support.images import write
from support.tars import write_tar


@pytest.fixture
def prefix(tmp_path):
    """A prefix of an object store in memory, with images, a tar and other objects."""
    prefix = f"memory://{uuid.uuid4().hex}/photos"
    store = fsspec.filesystem("memory")
    tar = write_tar(tmp_path / "shard.tar", [("key.png", b"in tar")]).read_bytes()
    objects = {"b.jpg": b"b", "a/c.PNG": b"c", "a/note.txt": b"", ".hidden.jpg": b"h", "z.tar": tar}
    for name, content in objects.items():
        store.pipe_file(f"{prefix}/{name}", content)
    return prefix


def test_a_prefix_gives_its_images_and_those_of_its_tars_by_relative_names(prefix):
    found = list(read_ahead(find_stored([prefix])))
    assert [(one.id, one.data) for one in found] == [("b.jpg", b"b"), ("key", b"in tar"), ("a/c.PNG", b"c")]
    assert found[0].label == f"{prefix}/b.jpg"
    (only,) = find_stored([f"{prefix}/b.jpg"])
    assert (only.id, only.data()) == ("b.jpg", b"b")
    assert [one.id for one in find_stored([f"{prefix}/*/*.PNG"])] == ["c.PNG"]


def test_a_prefix_without_images_and_a_missing_object_are_errors(prefix):
    with pytest.raises(InvalidInputError, match="no objects ending in"):
        list(find_stored([f"{prefix}/a"], SourceOptions(image_extensions="webp")))
    (missing,) = read_ahead(find_stored([f"{prefix}/x.jpg"]))
    assert isinstance(missing.data, ImageReadError)
    assert str(missing.data) == f"{prefix}/x.jpg: no such object"


def test_files_on_disk_are_told_from_folders_and_lists(tmp_path):
    write(tmp_path / "a.jpg", b"a")
    write_tar(tmp_path / "1.tar", [("x.jpg", b"x")])
    (tmp_path / "folder.tar").mkdir()
    assert is_stored(str(tmp_path / "1.tar"))
    assert is_stored("s3://bucket/photos")
    assert not is_stored(str(tmp_path))
    assert not is_stored(str(tmp_path / "folder.tar"))
    assert not is_stored(str(tmp_path / "a.jpg"))
    found = list(find_stored([str(tmp_path), str(tmp_path / "*.tar")]))
    assert [(one.id, one.data) for one in found] == [("a.jpg", tmp_path / "a.jpg"), ("x", b"x")]
    with pytest.raises(InputFileError, match=r"2\.tar: no such file"):
        find_stored([str(tmp_path / "2.tar")])


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch):
    for name in ("s3fs", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnsupportedError, match=r"parquet needs the package pyarrow: pip install '\.\[parquet\]'"):
        find_stored(["a.parquet"])
    if "s3" not in fsspec.registry:  # another test has loaded it
        with pytest.raises(UnsupportedError, match=r"s3:// needs the package s3fs: pip install '\.\[s3\]'"):
            _file_system("s3", None)


def test_images_are_read_ahead_in_order_and_in_bounds():
    begun = []

    def image(index):
        def data():
            begun.append(index)
            if index == 2:
                raise ImageReadError("2: gone")
            return str(index).encode()

        return StoredImage(str(index), str(index), data)

    drawn = []
    images = (drawn.append(index) or image(index) for index in range(100))
    ahead = read_ahead(images, 4)
    first = [next(ahead) for _ in range(5)]
    assert [one.id for one in first] == list("01234")
    assert isinstance(first[2].data, ImageReadError)
    assert first[4].data == b"4"
    assert len(drawn) <= 10
    ahead.close()
    assert len(begun) <= len(drawn)


def listed(source, shard=None):
    selection = Selection(shard)
    return list(find_stored([str(source)], SourceOptions(selection=selection))), selection


def sources_of_every_kind(folder):
    """A tar, a parquet file, a CSV list and a folder, with twelve images each."""
    names = [f"{index:02d}.jpg" for index in range(12)]
    (folder / "photos").mkdir()
    for name in names:
        write(folder / "photos" / name, name.encode())
    write_tar(folder / "in.tar", [(name, name.encode()) for name in names])
    (folder / "list.csv").write_text("path\n" + "\n".join(f"photos/{name}" for name in names))
    yield from (folder / "photos", folder / "in.tar", folder / "list.csv")
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return
    pq.write_table(pa.table({"image": [name.encode() for name in names]}), folder / "in.parquet")
    yield folder / "in.parquet"


def test_shards_of_any_source_are_disjoint_and_complete_and_know_the_number_of_all(tmp_path):
    for source in sources_of_every_kind(tmp_path):
        everything, _ = listed(source)
        shards = [listed(source, one) for one in Shard(0, 1).split(3)]
        assert sorted(image.id for found, _ in shards for image in found) == [one.id for one in everything]
        assert [selection.total for _, selection in shards] == [12, 12, 12]
        assert all(selection.shard.contains(image.id) for found, selection in shards for image in found)


def test_images_of_other_shards_are_not_read(prefix, monkeypatch):
    store = fsspec.filesystem("memory")
    for index in range(20):
        store.pipe_file(f"{prefix}/many/{index}.jpg", b"x")
    read = []
    monkeypatch.setattr(Store, "read", lambda self, address, max_bytes: read.append(address) or b"x")
    selection = Selection(Shard(1, 4))
    taken = list(read_ahead(find_stored([f"{prefix}/many"], SourceOptions(selection=selection))))
    assert 0 < len(taken) < 20
    assert sorted(read) == sorted(one.label for one in taken)
    assert all(selection.shard.contains(one.id) for one in taken)


def test_a_tar_that_cannot_be_read_is_reported_by_every_shard(tmp_path):
    write(tmp_path / "cut.tar", b"no tar")
    for shard in Shard(0, 1).split(3):
        (found,), _ = listed(tmp_path / "cut.tar", shard)
        assert isinstance(found.data, ImageDecodeError)


def test_a_list_may_have_addresses_beside_files(prefix, tmp_path):
    write_tar(tmp_path / "1.tar", [("x.jpg", b"x")])
    lines = ["# comment", f"{prefix}/b.jpg", f"{prefix}/a", str(tmp_path / "1.tar"), "sub/local.jpg"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    assert is_stored(f"@{tmp_path / 'list.txt'}")
    found = list(find_stored([f"@{tmp_path / 'list.txt'}"]))
    assert [one.id for one in found] == [f"{prefix}/b.jpg", "c.PNG", "x", "sub/local.jpg"]
    assert found[0].data() == b"b"
    assert found[3].data == Path("sub/local.jpg")
    (tmp_path / "files.txt").write_text("a.jpg\n")
    assert not is_stored(f"@{tmp_path / 'files.txt'}")


def test_an_error_of_a_store_is_ours(prefix):
    with pytest.raises(ImageReadError, match="no such object"):
        read_object(f"{prefix}/nothing.jpg")
