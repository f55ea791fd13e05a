"""Results are named after their source and the folder it was given in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depth_anything_3.export.naming import result_names, video_name
from depth_anything_3.inputs.discover import FoundImage, find_with_folders


def names_of(*paths, folder=None, **options):
    images = [FoundImage(path, folder or path.parent) for path in map(Path, paths)]
    return result_names(images, **options)


@pytest.fixture
def tree(tmp_path):
    """A folder of images; two of them share a stem."""
    for name in ("a.jpg", "a.png", "b.jpg", "b.txt", "b.mov", "sub/b.jpg", "sub/deeper/c.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_name_mirrors_the_path_below_the_given_folder(tree):
    found = find_with_folders([str(tree)], recursive=True)
    assert result_names(found) == ["a.jpg", "a.png", "b", "sub/b", "sub/deeper/c"]
    found = find_with_folders([str(tree / "sub")], recursive=True)
    assert result_names(found) == ["b", "deeper/c"]


def test_a_pattern_a_list_and_a_file_give_the_folder_too(tree, monkeypatch):
    monkeypatch.chdir(tree)
    (tree / "list").write_text(f"sub/b.jpg\n{tree / 'sub' / 'deeper' / 'c.tif'}\n")
    assert result_names(find_with_folders(["**/b.jpg"])) == ["b", "sub/b"]
    assert result_names(find_with_folders(["@list"])) == ["sub/b", "c"]
    assert result_names(find_with_folders(["sub/b.jpg", "sub/../b.jpg"])) == ["b", f"b_{_hash(tree / 'b.jpg')}"]


def _hash(path):
    import hashlib

    return hashlib.sha256(os.fsencode(path)).hexdigest()[:8]


def test_a_name_does_not_depend_on_the_other_images_of_a_run(tree):
    together = names_of(tree / "a.jpg", tree / "a.png", tree / "b.jpg")
    assert together == [*names_of(tree / "a.jpg"), *names_of(tree / "a.png"), *names_of(tree / "b.jpg")]


def test_a_new_file_does_not_rename_results_that_are_recorded(tree):
    assert names_of(tree / "a.jpg", recorded=lambda path: "a") == ["a"]
    assert names_of(tree / "a.jpg", recorded=lambda path: "from another folder/a") == ["a.jpg"]


def test_images_of_two_folders_with_one_name_get_different_names(tmp_path):
    paths = [tmp_path / folder / "img.png" for folder in ("x", "y", "z")]
    assert names_of(*paths) == ["img", f"img_{_hash(paths[1])}", f"img_{_hash(paths[2])}"]


def test_names_that_a_file_system_may_not_distinguish_are_different(tmp_path):
    paths = [tmp_path / folder / name for folder, name in (("x", "é.png"), ("y", "e\u0301.png"), ("z", "É.png"))]
    names = names_of(*paths)
    assert len({name.casefold() for name in names}) == 3
    assert names[0] == "é"


@pytest.mark.parametrize("letter", ["x", "é", "深"])
def test_long_names_are_shortened_and_stay_distinct(letter):
    long = letter * (255 // len(letter.encode()) - 2)
    names = names_of(f"d/{long}1.jpg", f"d/{long}2.jpg", f"d/{long}/{long}1.jpg", folder=Path("d"))
    assert len(set(names)) == 3
    assert all(len(part.encode()) <= 180 for name in names for part in name.split("/"))
    assert names == names_of(f"d/{long}1.jpg", f"d/{long}2.jpg", f"d/{long}/{long}1.jpg", folder=Path("d"))


ends = st.sampled_from(["a", "b", "a_b", "a.jpg", "a.png", "b_2", "...", "é"])
words = st.sampled_from(["a", "b", "a_b", "a.jpg", "..", "b_2", "...", "é"])


@given(st.lists(st.builds(lambda parts, end: Path(*parts, end), st.lists(words, max_size=3), ends), unique=True))
@settings(deadline=None)
def test_no_two_images_share_a_name(paths):
    names = names_of(*paths)
    files = {os.path.abspath(path) for path in paths}
    assert len(set(names)) == len(files)
    assert not any(name.startswith(("/", "../")) or "/../" in name for name in names)


def test_videos_follow_the_same_rule(tmp_path):
    for name in ("my film.mp4", "my_film.mp4", "a.mp4", "a.mov", "a.srt", f"{'x' * 240}.mp4"):
        (tmp_path / name).touch()
    assert video_name(tmp_path / "my film.mp4") == "my film"
    assert video_name(tmp_path / "my_film.mp4") == "my_film"
    assert [video_name(tmp_path / f"a.{one}") for one in ("mp4", "mov")] == ["a.mp4", "a.mov"]
    assert len(video_name(tmp_path / f"{'x' * 240}.mp4")) == 180
