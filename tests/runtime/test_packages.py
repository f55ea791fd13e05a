"""Other distributions that install this package are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from depth_anything_3.runtime.packages import DISTRIBUTION, other_owners


def install(folder: Path, name: str, *, package: str | None) -> None:
    """Write what pip leaves of an installed distribution; without its package, as for an editable one."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
    if package is not None:
        (info / "top_level.txt").write_text(f"{package}\n")


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "package", "found"),
    [
        pytest.param("depth-anything-3", None, ("depth-anything-3",), id="upstream, editable"),
        pytest.param("depth_anything_3", "depth_anything_3", ("depth-anything-3",), id="upstream, other spelling"),
        pytest.param("Some.Fork", "depth_anything_3", ("some-fork",), id="a fork"),
        pytest.param("depth-anything-v2", "depth_anything_v2", (), id="another package"),
        pytest.param(DISTRIBUTION, "depth_anything_3", (), id="this one"),
    ],
)
def test_other_distributions_with_this_package_are_found(site, name, package, found):
    install(site, name, package=package)
    assert other_owners() == found


def test_there_is_none_by_default():
    assert other_owners() == ()
