"""The code cells of examples/first_steps.ipynb run in order, with stand-ins for the models that it downloads."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import trimesh

from depth_anything_3.api import DepthAnything3

NOTEBOOK = json.loads((Path(__file__).parents[1] / "examples" / "first_steps.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def figures(monkeypatch):
    """The figures that cells show, as pixels."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = []

    def show() -> None:
        pyplot.gcf().canvas.draw()
        shown.append(np.asarray(pyplot.gcf().canvas.buffer_rgba())[..., :3])
        pyplot.close("all")

    monkeypatch.setattr(pyplot, "show", show)
    return shown


@pytest.fixture
def stand_ins(monkeypatch, small_checkpoint):
    """The bundled network under the name of the metric model, and a checkpoint of random weights for the views."""
    load = DepthAnything3.from_pretrained

    def from_pretrained(name: str) -> DepthAnything3:
        if name == "depth-anything/DA3-SMALL":
            return load(small_checkpoint)
        model = load("da3-nano")
        if name == "depth-anything/DA3METRIC-LARGE":
            model.model_name = "da3metric-large"
        return model

    monkeypatch.setattr(DepthAnything3, "from_pretrained", from_pretrained)


@pytest.mark.usefixtures("stand_ins")
def test_the_notebook_runs_with_its_downloads(figures, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names: dict[str, object] = {"__name__": "__main__"}
    small = {"DOWNLOAD = False": "DOWNLOAD = True", "inference(views,": "inference(views, process_res=112,"}
    for cell in CODE:
        source = "".join(cell["source"])
        for written, run in small.items():
            source = source.replace(written, run)
        exec(source, names)
    printed = capsys.readouterr().out
    assert "largest difference of depth: 0.0\n" in printed
    assert "skipped: " in printed
    assert "hall.jpg: factor" in printed
    assert "da3metric-large" in printed, "which can give metres"
    assert " m\n" in printed
    assert printed.count("camera centre") == 2
    assert len(figures) == 4
    assert all(figure.std() > 20 for figure in figures), "a figure is blank"
    (folder,) = tmp_path.iterdir()
    assert len(trimesh.load(folder / "ply" / "first.ply").vertices) > 10_000
    assert (folder / "scene.glb").exists()


def test_the_notebook_downloads_nothing_unless_asked():
    assert "\nDOWNLOAD = False " in "".join(CODE[0]["source"])
    loads = ["".join(cell["source"]) for cell in CODE if 'from_pretrained("' in "".join(cell["source"])]
    assert len(loads) == 2
    assert all(text.index("if DOWNLOAD:") < text.index('from_pretrained("') for text in loads)


def test_the_notebook_is_stored_without_outputs():
    assert [cell["id"] for cell in CODE if cell["outputs"] or cell["execution_count"]] == []
    assert NOTEBOOK["nbformat"] == 4
    assert all("\n".join(cell["source"]).strip() for cell in NOTEBOOK["cells"])
