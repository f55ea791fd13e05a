"""Ids of any kind become names that are safe and distinct."""

from __future__ import annotations

import pytest

from depth_anything_3.jobs.sinks.names import file_name, tar_key


@pytest.mark.parametrize("id", ["0001", "room/IMG_7.jpg", "a b", "ä/ö", "000~1"])
def test_a_safe_id_is_its_own_name(id):
    assert file_name(id) == id


@pytest.mark.parametrize(
    "id",
    ["../../etc/passwd", "/abs", ".", "..", "", "a//b", ".hidden", "c:x", "a\\b", "nul\0", "x" * 300, "a.", "\ud800"],
)
def test_an_odd_id_gets_a_safe_name_with_a_hash(id):
    name = file_name(id)
    assert "~" in name
    assert not name.startswith("/")
    assert not any(part in ("", ".", "..") or part.startswith(".") or len(part) > 200 for part in name.split("/"))
    assert not set(name) & set('\0\\:*?"<>|')


def test_odd_ids_have_distinct_names():
    ids = ["../a", "./a", "/a", "a", "_/a", "", ".", "a:b", "a_b", "a*b"]
    assert len({file_name(one) for one in ids}) == len(ids)


def test_keys_have_no_dots():
    assert tar_key("room.1/IMG_7.jpg") == "room_1/IMG_7_jpg"
