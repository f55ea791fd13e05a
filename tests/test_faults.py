"""Faults around a run, of disks, folders and signals, lose nothing finished and leave nothing half written."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.export import load_prediction
from depth_anything_3.export.naming import result_names
from depth_anything_3.inputs.discover import FoundImage
from depth_anything_3.runtime.atomic_file import atomic_write
from support.jobs import run_images
from support.seeded_values import seeded_images_uint8

OTHER_FILES = ("report.json", "manifest.json", "manifest.jsonl")
SMALL = {"process_res": 56, "num_workers": 2}
SOURCES = sorted((Path(__file__).parents[1] / "src").rglob("*.py"))


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    found = [tmp_path / "photos" / f"{number}.png" for number in range(6)]
    found[0].parent.mkdir()
    for path, picture in zip(found, seeded_images_uint8(6, 42, 56, seed=3), strict=True):
        Image.fromarray(picture).save(path)
    return found


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A disk of 48 kB, as root on Linux can have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=48k", "none", folder], check=False).returncode
    ):
        pytest.skip("only root may mount a disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def whole_results(folder: Path) -> list[str]:
    """Names of the results, each read to its end; there may be nothing else."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in OTHER_FILES]
    assert not [path for path in files if path.name.startswith(".")]
    for path in files:
        load_prediction(path)
    return sorted(path.stem for path in files)


def test_a_full_disk_ends_the_run_with_whole_files_and_a_report(seeded_small, paths, disk):
    at = disk / "report.json"
    with pytest.raises(ExportError, match=r"cannot be written \(No space left on device\)"):
        run_images(seeded_small, paths, disk / "out", "npz", report_file=at, on_error="skip", **SMALL)
    written = whole_results(disk)
    assert 0 < len(written) < len(paths)
    if at.exists():  # there may be no room for it either
        report = json.loads(at.read_text())
        assert report["images"] == len(written)
        assert "No space left" in report["stopped_by"]


def test_the_run_resumes_after_space_was_freed(seeded_small, paths, disk):
    with pytest.raises(ExportError):
        run_images(seeded_small, paths, disk / "out", "npz", **SMALL)
    before = whole_results(disk)
    subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
    report = run_images(seeded_small, paths, disk / "out", "npz", resume=True, **SMALL)
    assert (report.skipped, report.images) == (len(before), len(paths) - len(before))
    assert whole_results(disk) == [path.stem for path in paths]


def test_a_read_only_disk_is_reported(seeded_small, paths, disk, tmp_path, caplog):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(ExportError, match="Read-only file system"):
        run_images(seeded_small, paths, disk / "out", "npz", report_file=disk / "report.json", **SMALL)
    assert "no report was written: " in caplog.text
    assert list(disk.iterdir()) == []


def test_a_folder_removed_during_the_run_is_created_again(seeded_small, paths, tmp_path):
    out, steps = tmp_path / "out", []

    def remove(_failed: int) -> None:
        steps.append(1)
        if len(steps) == 3:
            shutil.rmtree(out)

    at = tmp_path / "report.json"
    report = run_images(seeded_small, paths, out, "npz", report_file=at, on_progress=remove, **SMALL)
    assert (report.images, report.stopped_by) == (6, None)
    assert whole_results(out) == ["3", "4", "5"]
    again = run_images(seeded_small, paths, out, "npz", resume=True, **SMALL)
    assert (again.images, again.skipped) == (3, 3)


def test_an_image_removed_during_the_run_fails_alone(seeded_small, paths, tmp_path):
    paths[5].unlink()
    report = run_images(seeded_small, paths, tmp_path / "out", "npz", on_error="skip", **SMALL)
    assert (report.images, [one["image"] for one in report.failures]) == (5, [str(paths[5])])


# Results stay in their folder


@pytest.mark.parametrize(
    "sources",
    [
        ["../../a.jpg", "/etc/a.jpg", "a.jpg", "x/../../../a.jpg"],
        ["...jpg", "....jpg", "x/...jpg", " .jpg", "x/. .jpg"],
        ["a/b.jpg", "a_b.jpg", "a/b.png", "A/B.jpg"],
        ["a" * 300 + ".jpg", "b/" + "a" * 300 + ".jpg", "c/" + "a" * 300 + ".jpg"],
    ],
    ids=["upwards", "dots", "equal when joined", "long"],
)
def test_no_name_of_a_source_leads_out_of_a_folder_or_to_anothers_result(tmp_path, sources):
    names = result_names([FoundImage.alone(Path(one)) for one in sources])
    assert len({name.casefold() for name in names}) == len(set(map(os.path.abspath, sources)))
    for name in names:
        assert (tmp_path / "colmap" / name).resolve().parent == (tmp_path / "colmap").resolve(), name
        assert (tmp_path / "npz" / f"{name}.npz").resolve().parent == (tmp_path / "npz").resolve(), name


def test_a_link_in_a_results_place_is_replaced_and_not_followed(tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("kept")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.npz").symlink_to(other)
    with atomic_write(tmp_path / "out" / "a.npz") as aside:
        aside.write_text("new")
    assert (other.read_text(), (tmp_path / "out" / "a.npz").read_text()) == ("kept", "new")
    assert not (tmp_path / "out" / "a.npz").is_symlink()


# Nothing that is read is run


def test_results_with_objects_in_them_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", depth=np.array([print], object))
    with pytest.raises(InvalidInputError, match=r"a\.npz: not an \.npz archive of plain arrays"):
        load_prediction(tmp_path / "a.npz")


def test_a_pipe_in_place_of_a_result_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "results.npz")
    with pytest.raises(InvalidInputError, match="not a regular file"):
        load_prediction(tmp_path / "results.npz")


BETWEEN_OWN_PROCESSES = {"ray_cluster.py"}  # Ray's, which pickles all that passes between them


@pytest.mark.parametrize(
    "path", [one for one in SOURCES if one.name not in BETWEEN_OWN_PROCESSES], ids=lambda path: path.stem
)
def test_nothing_is_unpickled_evaluated_or_given_to_a_shell(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not imported & {"pickle", "shelve", "marshal", "dill", "joblib"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert called not in ("eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads"), called
            assert called != "torch.load" or given.get("weights_only") == "True"
            assert called != "np.load" or given.get("allow_pickle") == "False"
            assert given.get("shell", "False") == "False"
