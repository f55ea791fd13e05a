"""The cache of converted networks."""

from __future__ import annotations

import os

import pytest

from depth_anything_3.errors import ExportError
from depth_anything_3.exported.model_store import ENTRY_FILE, ModelStore

FACTS = {"weights": "a", "openvino": "2026.4"}


def writer(content=b"12345", error=1e-7):
    def write(path):
        path.write_bytes(content)
        path.with_suffix(".bin").write_bytes(content)
        return error

    return write


def test_what_was_added_is_found_for_the_same_facts_only(tmp_path):
    store = ModelStore(tmp_path)
    assert store.get("net", FACTS) is None
    added = store.add("net", FACTS, "model.xml", writer())
    assert added.file.read_bytes() == b"12345"
    assert ModelStore(tmp_path).get("net", FACTS) == added
    assert store.get("net", {**FACTS, "openvino": "2027.0"}) is None
    assert [one.name for one in tmp_path.iterdir()] == [added.file.parent.name]


@pytest.mark.parametrize("damage", ["model.bin", "model.xml", ENTRY_FILE, "no bin", "no entry", "other entry"])
def test_a_damaged_entry_is_removed(tmp_path, caplog, damage):
    store = ModelStore(tmp_path)
    folder = store.add("net", FACTS, "model.xml", writer()).file.parent
    if damage.startswith("no "):
        (folder / {"no bin": "model.bin", "no entry": ENTRY_FILE}[damage]).unlink()
    elif damage == "other entry":
        (folder / ENTRY_FILE).write_text("[1]")
    else:
        (folder / damage).write_bytes(b"12346")
    assert store.get("net", FACTS) is None
    assert not folder.exists()
    assert "damaged" in caplog.text
    assert store.add("net", FACTS, "model.xml", writer()).file.read_bytes() == b"12345"


def test_of_two_processes_that_convert_at_once_the_second_takes_what_the_first_wrote(tmp_path):
    def write(path):
        ModelStore(tmp_path).add("net", FACTS, "model.xml", writer(b"first"))
        return writer(b"second")(path)

    assert ModelStore(tmp_path).add("net", FACTS, "model.xml", write).file.read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1


def test_nothing_is_left_of_a_conversion_that_failed(tmp_path):
    def fail(path):
        path.write_bytes(b"half")
        raise ValueError("cannot convert")

    with pytest.raises(ValueError, match="cannot convert"):
        ModelStore(tmp_path).add("net", FACTS, "model.xml", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="file: the converted network cannot be kept there"):
        ModelStore(tmp_path / "file").add("net", FACTS, "model.xml", writer())


def test_the_models_used_least_recently_are_removed(tmp_path):
    store = ModelStore(tmp_path, max_bytes=25_000)
    for age, name in enumerate(["c", "b", "a"]):
        entry = store.add(name, FACTS, "model.xml", writer(5_000 * b"x")).file.with_name(ENTRY_FILE)
        os.utime(entry, (1000 - age, 1000 - age))
        assert store.get("c", FACTS) is not None  # its use is noted
    left = {one.name[0] for one in tmp_path.iterdir()}
    assert left == {"a", "c"}
