"""Images in parquet files."""

from __future__ import annotations

import pytest

from depth_anything_3.errors import ImageDecodeError, ImageReadError, InvalidInputError
from depth_anything_3.jobs.sources.parquet import parquet_images

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def written(path, **columns):
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def read(path, *columns):
    return list(parquet_images(path.name, lambda: path.open("rb"), *columns))


def test_bytes_with_ids(tmp_path):
    path = written(tmp_path / "a.parquet", id=[7, 8, 9], image=[b"a", b"b", b"c"])
    assert [(one.id, one.label, one.data) for one in read(path)] == [
        ("7", "a.parquet/row 0", b"a"),
        ("8", "a.parquet/row 1", b"b"),
        ("9", "a.parquet/row 2", b"c"),
    ]


def test_structs_of_hugging_face_datasets_without_ids(tmp_path):
    path = written(tmp_path / "a.parquet", image=[{"bytes": b"a", "path": "x.jpg"}, {"bytes": None, "path": "y.jpg"}])
    first, second = read(path)
    assert (first.id, first.data) == ("a-00000000", b"a")
    assert isinstance(second.data, ImageReadError)


def test_named_columns(tmp_path):
    path = written(tmp_path / "a.parquet", left=[b"l"], right=[b"r"], name=["n"])
    assert [(one.id, one.data) for one in read(path, "right", "name")] == [("n", b"r")]


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        (("nothing", None), "the column 'nothing'; its columns are text"),
        ((None, None), "has not a column of images"),
        (("text", None), "holds string, not the bytes"),
        (("text", "nothing"), "the column 'nothing'"),
    ],
)
def test_a_column_that_is_not_there_or_holds_no_images_is_an_error(tmp_path, columns, match):
    with pytest.raises(InvalidInputError, match=match):
        read(written(tmp_path / "a.parquet", text=["a"]), *columns)


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"", lambda data: b"PAR1" * 9])
def test_a_damaged_file_is_one_failure(tmp_path, damage):
    path = written(tmp_path / "a.parquet", image=[b"a"])
    path.write_bytes(damage(path.read_bytes()))
    (only,) = read(path)
    assert isinstance(only.data, ImageDecodeError)
    assert only.id == "a.parquet"
