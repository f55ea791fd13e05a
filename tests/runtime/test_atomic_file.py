"""Files that appear whole or not at all."""

from __future__ import annotations

import shutil

import pytest

from depth_anything_3.errors import ExportError
from depth_anything_3.runtime.atomic_file import atomic_write
from support.full_disk import full_disk


def write(target, text, then=lambda: None):
    with atomic_write(target) as aside:
        aside.write_text(text)
        then()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_old_content_until_the_new_one_is_whole(tmp_path):
    target = tmp_path / "result.npz"
    target.write_text("old")
    with atomic_write(target) as aside:
        aside.write_text("new")
        assert target.read_text() == "old"
        assert (aside.parent, aside.suffix) == (tmp_path, ".npz")
    assert target.read_text() == "new"
    assert names_in(tmp_path) == ["result.npz"]


def test_folders_are_made_as_needed(tmp_path):
    write(tmp_path / "a" / "b" / "c.txt", "new")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_when_writing_breaks_off_nothing_has_changed(tmp_path, error):
    def break_off():
        raise error

    target = tmp_path / "result.npz"
    target.write_text("old")
    with pytest.raises(error):
        write(target, "half", then=break_off)
    assert target.read_text() == "old"
    assert names_in(tmp_path) == ["result.npz"]


def test_a_full_disk_is_reported_and_leaves_no_partial_file(tmp_path):
    target = tmp_path / "result.npz"
    with full_disk(1000), pytest.raises(ExportError, match=rf"^{target}: cannot be written \(File too large\)"):
        write(target, "new" * 5000)
    assert names_in(tmp_path) == []


def remove(folder):
    shutil.rmtree(folder)


def put_a_file_in_its_place(folder):
    shutil.rmtree(folder)
    folder.write_text("")


@pytest.mark.parametrize("change", [remove, put_a_file_in_its_place])
def test_a_folder_removed_while_writing_is_reported(tmp_path, change):
    target = tmp_path / "folder" / "result.npz"
    with pytest.raises(ExportError, match=f"^{target}: cannot be written"):
        write(target, "new", then=lambda: change(target.parent))


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        pytest.param("a/b", "Not a directory|File exists", id="folder-is-a-file"),
        pytest.param("a/b/c.txt/inside", "Is a directory", id="target-is-a-folder"),
    ],
)
def test_foreign_files_are_reported_and_not_deleted(tmp_path, obstacle, reason):
    (tmp_path / obstacle).parent.mkdir(parents=True)
    (tmp_path / obstacle).write_text("kept")
    with pytest.raises(ExportError, match=rf"c.txt: cannot be written \(({reason})\)"):
        write(tmp_path / "a" / "b" / "c.txt", "new")
    assert (tmp_path / obstacle).read_text() == "kept"
    assert len(names_in((tmp_path / obstacle).parent)) == 1
