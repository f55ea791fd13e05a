"""Webdataset tars: keys, members that are no images, and damage."""

from __future__ import annotations

import tarfile

import pytest

from depth_anything_3.errors import ImageDecodeError, ImageReadError, ImageSizeError
from depth_anything_3.jobs.sources.tar import tar_images
from support.tars import write_tar


def read(path, **options):
    return list(tar_images(path.name, lambda: path.open("rb"), **options))


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_the_key_of_a_sample_is_the_id_of_its_image(tmp_path):
    path = write_tar(
        tmp_path / "a.tar",
        [("x/0001.jpg", b"one"), ("x/0001.json", b"{}"), ("x/0001.seg.png", b"no"), ("./0002.PNG", b"two")],
    )
    found = read(path)
    assert [(one.id, one.label, one.data) for one in found] == [
        ("x/0001", "a.tar/x/0001.jpg", b"one"),
        ("0002", "a.tar/./0002.PNG", b"two"),
    ]
    assert [(one.id, one.data) for one in read(path, column="seg.png")] == [("x/0001", b"no")]


def test_members_that_are_no_regular_files_are_left_out(tmp_path):
    folder = tarfile.TarInfo("folder.jpg")
    folder.type = tarfile.DIRTYPE
    odd = [link("a.jpg", "/etc/passwd"), link("b.jpg", "c.jpg", tarfile.LNKTYPE), folder, (".jpg", b"no key")]
    path = write_tar(tmp_path / "a.tar", [*odd, ("../../up.jpg", b"up"), ("/abs.jpg", b"abs")])
    assert [(one.id, one.data) for one in read(path)] == [("../../up", b"up"), ("/abs", b"abs")]
    assert list(tmp_path.iterdir()) == [path]  # names are ids, never paths


def test_an_empty_and_a_huge_member_cost_only_themselves(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("a.jpg", b""), ("b.jpg", b"12345"), ("c.jpg", b"123")])
    empty, huge, good = read(path, max_bytes=4)
    assert isinstance(empty.data, ImageReadError)
    assert isinstance(huge.data, ImageSizeError)
    assert good.data == b"123"


@pytest.mark.parametrize(
    ("damage", "good"),
    [
        pytest.param(lambda data: data[:1000], 0, id="cut-in-the-first"),
        pytest.param(lambda data: data[:1700], 1, id="cut-in-the-second"),
        pytest.param(lambda data: data[:1024] + b"\xff" * 512 + data[1536:], 1, id="damaged-header"),
        pytest.param(lambda data: data[:1100], 1, id="cut-in-a-header"),
        pytest.param(lambda data: b"not a tar" * 200, 0, id="no-tar"),
        pytest.param(lambda data: b"", 0, id="empty"),
    ],
)
def test_a_damaged_tar_gives_what_is_before_the_damage_and_its_error(tmp_path, damage, good):
    path = write_tar(tmp_path / "a.tar", [("a.jpg", b"a" * 512), ("b.jpg", b"b" * 512), ("c.jpg", b"c" * 512)])
    path.write_bytes(damage(path.read_bytes()))
    *before, last = read(path)
    assert [one.data for one in before] == [b"a" * 512][:good]
    assert isinstance(last.data, ImageDecodeError)
    assert last.id == "a.tar"
    assert str(last.data).startswith("a.tar: the tar is damaged")
