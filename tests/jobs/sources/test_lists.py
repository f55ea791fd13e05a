"""CSV and COCO lists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from depth_anything_3.errors import InputFileError
from depth_anything_3.jobs.sources.lists import listed_images


def test_csv_paths_are_relative_to_the_list(tmp_path):
    list_file = tmp_path / "list.csv"
    list_file.write_text("\ufeffid, path\r\n1,a.jpg\r\n,https://u:secret@host/b.jpg?sig=secret\r\n3,/abs/c.jpg\r\n")
    first, second, third = listed_images(str(list_file))
    assert (first.id, first.data) == ("1", tmp_path / "a.jpg")
    assert (second.id, second.label) == ("https://host/b.jpg", "https://host/b.jpg")
    assert callable(second.data)
    assert (third.id, third.data) == ("3", Path("/abs/c.jpg"))


def test_a_root_and_named_columns(tmp_path):
    list_file = tmp_path / "list.csv"
    list_file.write_text("left,right,name\na.jpg,b.jpg,n\n")
    (only,) = listed_images(str(list_file), str(tmp_path / "root"), "right", "name")
    assert (only.id, only.data) == ("n", tmp_path / "root" / "b.jpg")
    (only,) = listed_images(str(list_file), "s3://bucket/x/", "right")
    assert (only.id, only.label) == ("b.jpg", "s3://bucket/x/b.jpg")


def test_images_of_a_coco_list(tmp_path):
    list_file = tmp_path / "instances.json"
    list_file.write_text(json.dumps({"images": [{"id": 139, "file_name": "val/139.jpg"}], "annotations": []}))
    (only,) = listed_images(str(list_file))
    assert (only.id, only.data) == ("139", tmp_path / "val" / "139.jpg")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.csv", "x,y\n1,2\n", "has not a column of paths; its columns are x, y"),
        ("a.csv", "", "its columns are missing"),
        ("a.csv", "path\n", "is empty"),
        ("a.csv", "id,path\n1,\n", "line 2 has no path"),
        ("a.json", "[]", "not a COCO list"),
        ("a.json", '{"images": [{"id": 1}]}', "KeyError: 'file_name'"),
        ("a.json", "{", "JSONDecodeError"),
        pytest.param("a.csv", b"\xff\xfe\x00", "cannot be read", id="no-text"),
    ],
)
def test_a_list_that_cannot_be_used_says_why(tmp_path, name, content, match):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputFileError, match=match):
        list(listed_images(str(path)))
