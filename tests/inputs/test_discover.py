"""Find the images that files, folders, patterns and lists name."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from depth_anything_3.errors import ImageReadError, InvalidInputError
from depth_anything_3.inputs.discover import find_images

# Files and folders


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def found_in(folder: Path, *sources: str, extensions: str = "png,jpg", **options) -> list[str]:
    found = find_images([str(folder / source) for source in sources], extensions, **options)
    return [path.relative_to(folder).as_posix() for path in found]


def test_a_folder_lists_its_own_images_sorted_by_name(tmp_path):
    touch(tmp_path, "b.jpg", "a.png", "C.JPG", "notes.txt", "inner/d.jpg", "folder.jpg/e.jpg")
    assert found_in(tmp_path, ".") == ["C.JPG", "a.png", "b.jpg"]


@pytest.mark.parametrize("extensions", ["png,jpg", ".png, .JPG", "jpg,,png,"])
def test_extensions_are_accepted_in_any_spelling(tmp_path, extensions):
    touch(tmp_path, "a.png", "b.JPG", "c.tif")
    assert found_in(tmp_path, ".", extensions=extensions) == ["a.png", "b.JPG"]


def test_hidden_files_such_as_those_of_macos_are_skipped(tmp_path):
    touch(tmp_path, "a.jpg", "._a.jpg", ".0123.jpg")
    assert found_in(tmp_path, ".") == ["a.jpg"]


def test_files_are_accepted_with_any_name(tmp_path):
    touch(tmp_path, "scan.raw", ".hidden.jpg", "z/a.jpg")
    assert found_in(tmp_path, "scan.raw", "missing.jpg", "z", ".hidden.jpg") == [
        "scan.raw",
        "missing.jpg",
        "z/a.jpg",
        ".hidden.jpg",
    ]


def test_an_image_named_twice_is_processed_once(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg")
    assert found_in(tmp_path, "b.jpg", ".", "a.jpg") == ["b.jpg", "a.jpg"]


@pytest.mark.parametrize("content", [(), ("notes.txt",), ("inner/a.jpg",)], ids=["empty", "text", "images-below"])
def test_a_folder_without_images_is_rejected_with_the_extensions(tmp_path, content):
    touch(tmp_path, *content)
    with pytest.raises(InvalidInputError, match=f"^{tmp_path}: no files ending in .jpg, .png in this folder") as caught:
        find_images([str(tmp_path)], "png,jpg")
    assert ("pass recursive=True" in str(caught.value)) == ("inner/a.jpg" in content)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)  # permissions do not stop a test that runs as root
    with pytest.raises(ImageReadError, match=rf"^{tmp_path}: the folder cannot be listed \(Permission denied\)"):
        find_images([str(tmp_path)], "png,jpg")


# Folders below


def test_subfolders_are_listed_on_request_after_the_files(tmp_path):
    touch(tmp_path, "b/d.jpg", "b/a/e.png", "a/z.jpg", "a/notes.txt", "c.jpg", "A.jpg")
    assert found_in(tmp_path, ".") == ["A.jpg", "c.jpg"]
    assert found_in(tmp_path, ".", recursive=True) == ["A.jpg", "c.jpg", "a/z.jpg", "b/d.jpg", "b/a/e.png"]


def test_hidden_and_excluded_folders_are_searched_only_when_named(tmp_path):
    touch(tmp_path, "a.jpg", ".thumbs/a.jpg", "out/depth_vis/a.jpg", "out/b.jpg")
    results = [tmp_path / "out" / "depth_vis"]
    assert found_in(tmp_path, ".", recursive=True, exclude=results) == ["a.jpg", "out/b.jpg"]
    assert found_in(tmp_path, "**/*.jpg", exclude=results) == ["a.jpg", "out/b.jpg"]
    assert found_in(tmp_path, "out/depth_vis", ".thumbs", recursive=True, exclude=results) == [
        "out/depth_vis/a.jpg",
        ".thumbs/a.jpg",
    ]


def test_a_link_to_itself_is_left_to_reading_and_costs_no_other_file(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "loop").symlink_to("loop")
    for source in (tmp_path, tmp_path / "*"):
        found = find_images([str(source)], "jpg", recursive=True)
        assert [path.name for path in found] == ["a.jpg", "loop.jpg"]


def test_circular_links_end(tmp_path):
    touch(tmp_path, "a.jpg", "x/b.jpg", "y/c.jpg")
    for link in ("x/up", "y/up", "x/again"):
        (tmp_path / link).symlink_to(tmp_path, target_is_directory=True)
    assert found_in(tmp_path, ".", recursive=True) == ["a.jpg", "x/b.jpg", "y/c.jpg"]
    assert found_in(tmp_path, "**/*.jpg") == ["a.jpg", "x/b.jpg", "y/c.jpg"]


def test_a_link_to_a_folder_elsewhere_is_entered(tmp_path):
    touch(tmp_path, "disk/a.jpg", "photos/b.jpg")
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "disk", target_is_directory=True)
    assert found_in(tmp_path, "photos", recursive=True) == ["photos/b.jpg", "photos/more/a.jpg"]


def test_a_tree_without_images_is_rejected(tmp_path):
    touch(tmp_path, "x/notes.txt")
    with pytest.raises(InvalidInputError, match=r"no files ending in \.jpg in this folder or its subfolders"):
        find_images([str(tmp_path)], "jpg", recursive=True)


# Patterns


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        pytest.param("*.jpg", ["a.jpg"], id="one-folder"),
        pytest.param("*", ["a.jpg", "b.png"], id="extensions-hold"),
        pytest.param("x/?.jpg", ["x/c.jpg"], id="question-mark"),
        pytest.param("*/*.jpg", ["[2024]/e.jpg", "x/c.jpg", "x/cc.jpg"], id="folders"),
        pytest.param("**/*.png", ["b.png", "x/y/d.png"], id="any-depth"),
        pytest.param("x/**", ["x/c.jpg", "x/cc.jpg", "x/y/d.png"], id="everything-below"),
        pytest.param("[2024]/*", ["[2024]/e.jpg"], id="brackets-are-names"),
        pytest.param("*/[f]*.jpg", None, id="brackets-match-themselves"),
        pytest.param(".h*/*.jpg", [".hidden/f.jpg"], id="hidden-when-asked-for"),
        pytest.param("*.tif", None, id="no-match"),
        pytest.param("none/*.jpg", None, id="no-folder"),
    ],
)
def test_a_pattern_lists_the_matching_images_sorted(tmp_path, monkeypatch, pattern, found):
    names = (
        "a.jpg",
        "b.png",
        "n.txt",
        "x/c.jpg",
        "x/cc.jpg",
        "x/y/d.png",
        "[2024]/e.jpg",
        ".hidden/f.jpg",
        "z/._a.jpg",
    )
    touch(tmp_path, *names)
    monkeypatch.chdir(tmp_path)
    for start in ("", f"{tmp_path}/"):
        if found is None:
            with pytest.raises(InvalidInputError, match=r"no files ending in .* match this pattern"):
                find_images([start + pattern], "jpg,png")
        else:
            assert find_images([start + pattern], "jpg,png") == [Path(start + one) for one in found]


def test_an_overlong_folder_name_contains_nothing(tmp_path):
    with pytest.raises(InvalidInputError, match="match this pattern"):
        find_images([f"{tmp_path}/{'x' * 300}/*.jpg"], "jpg")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="accepted since")
def test_a_pattern_that_python_rejects_is_misuse(tmp_path):
    with pytest.raises(InvalidInputError, match=r"a\*\*b: this pattern is not accepted"):
        find_images([f"{tmp_path}/a**b"], "jpg")


def test_a_file_named_like_a_pattern_or_list_is_a_file(tmp_path, monkeypatch):
    touch(tmp_path, "what?.jpg", "@home.jpg", "whats.jpg")
    monkeypatch.chdir(tmp_path)
    assert find_images(["what?.jpg", "@home.jpg"], "jpg") == [Path("what?.jpg"), Path("@home.jpg")]


# Lists


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_gives_its_files_and_folders_in_order(tmp_path, monkeypatch, encoding):
    touch(tmp_path, "b.jpg", "x/a.jpg", "#1.jpg")
    text = "b.jpg\r\n\n# not this one.jpg\n  missing é.jpg\n./#1.jpg\nx\nb.jpg"
    (tmp_path / "list.txt").write_text(text, encoding=encoding)
    monkeypatch.chdir(tmp_path)
    assert find_images(["@list.txt"], "jpg") == [Path(one) for one in ("b.jpg", "missing é.jpg", "#1.jpg", "x/a.jpg")]


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_a_list_may_contain_names_that_are_not_utf8(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xff.jpg\n")
    assert find_images([f"@{tmp_path}/list.txt"], "jpg") == [Path(os.fsdecode(b"\xff.jpg"))]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("gone.txt", r"cannot be read \(No such file or directory\)", id="missing"),
        pytest.param("folder", r"cannot be read \(Is a directory\)", id="folder"),
        pytest.param("empty.txt", "is empty; write one path per line", id="empty"),
        pytest.param("wide.txt", r"cannot be read \(it is not text in UTF-8 or UTF-16\)", id="utf-16-without-a-mark"),
        pytest.param("cut.txt", "cannot be read", id="cut-utf-16"),
        pytest.param("a.zip", r"cannot be read \(it is a ZIP archive, not text\)", id="zip"),
    ],
)
def test_a_list_without_images_is_misuse_that_names_it(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    (tmp_path / "wide.txt").write_bytes("a.jpg".encode("utf-16-le"))
    (tmp_path / "cut.txt").write_bytes("a.jpg".encode("utf-16")[:-1])
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04" + bytes(40))
    with pytest.raises(InvalidInputError, match=f"^{tmp_path}/{name}: the list of images {message}"):
        find_images([f"@{tmp_path}/{name}"], "jpg")


def test_a_list_from_powershell_is_read(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "b c.jpg")
    # `Get-ChildItem -Name > list.txt` of Windows PowerShell: UTF-16 LE with a byte order mark
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe" + "a.jpg\r\nb c.jpg\r\n".encode("utf-16-le"))
    (tmp_path / "big.txt").write_bytes(b"\xfe\xff" + "a.jpg\n".encode("utf-16-be"))
    monkeypatch.chdir(tmp_path)
    assert find_images(["@list.txt"], "jpg") == [Path("a.jpg"), Path("b c.jpg")]
    assert find_images(["@big.txt"], "jpg") == [Path("a.jpg")]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("https://example.com/a.jpg", "images are read from disk, .*; download it first", id="https"),
        pytest.param("http://example.com/*.jpg?w=3", "images are read from disk", id="wildcards"),
        pytest.param("s3://bucket/a.jpg", "images are read from disk", id="s3"),
        pytest.param(
            "file:///photos/a.jpg", "images are read from disk, .*; give the path alone, without file://", id="file"
        ),
    ],
)
def test_an_address_is_misuse_that_quotes_it(source, message):
    with pytest.raises(InvalidInputError, match=f"^{re.escape(source)}: {message}"):
        find_images([source])


def test_an_address_in_a_list_costs_one_image(tmp_path):
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.jpg\nhttps://example.com/b.jpg?x=1\n")
    assert len(find_images([f"@{tmp_path}/list.txt"])) == 2


def test_a_list_without_its_sign_is_misuse_that_says_so(tmp_path):
    (tmp_path / "list.txt").write_text("a.jpg\n")
    with pytest.raises(InvalidInputError, match=f"a text file, not an image; .* give @{tmp_path}/list.txt"):
        find_images([f"{tmp_path}/list.txt"])
    (tmp_path / "photo.txt").write_bytes(b"\xff\xd8\xff\xe0")  # an image with a wrong name is read by its bytes
    assert find_images([f"{tmp_path}/photo.txt"]) == [tmp_path / "photo.txt"]


def test_a_folder_with_other_files_says_which(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "c.txt")
    with pytest.raises(InvalidInputError, match=r"which has other files: 2 \.mp4, 1 \.txt$"):
        find_images([str(tmp_path)], "jpg")


def test_without_extensions_every_kind_of_image_is_found(tmp_path):
    for name in ("a.heic", "b.HEIF", "c.avif", "d.jpg", "e.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_images([str(tmp_path)])] == ["a.heic", "b.HEIF", "c.avif", "d.jpg"]
