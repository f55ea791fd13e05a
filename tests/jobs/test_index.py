"""The page that shows a folder of results names every file, and quotes every name."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.errors import ImageDecodeError, InvalidInputError
from depth_anything_3.export import ExportOptions, export, load_prediction
from depth_anything_3.jobs.index import index_of_folder
from depth_anything_3.jobs.manifest import Manifest
from support.chromium import CHROMIUM, run_chromium
from support.jobs import run_images, run_views
from support.run_state import files_in
from support.seeded_values import seeded_images_uint8

SMALL = {"process_res": 56, "num_workers": 1, "on_error": "skip"}
STRANGE = "a #1 100%? é <script>alert('x')<&\"&amp;.v2"
NAMES = [STRANGE, "b10", "b9"]
_VOID = {"meta", "img", "input", "link", "br"}


class Page(HTMLParser):
    """A page whose elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts = 0
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.headings: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        assert not any(key.startswith("on") for key in given)
        self.scripts += tag == "script"
        if tag == "a":
            self.links.append(unquote(given["href"], errors="surrogateescape"))
        elif tag == "img":
            self.pictures.append(unquote(given["src"], errors="surrogateescape"))
        elif tag == "h3":
            self.headings.append("")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["h3"]:
            self.headings[-1] += data
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data


def read(folder: Path) -> Page:
    page = Page((folder / "index.html").read_text(encoding="utf-8"))
    for one in (*page.links, *page.pictures):
        assert (folder / one).is_file(), one
    return page


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, image in zip(NAMES, seeded_images_uint8(3, 42, 56, seed=3), strict=True):
        Image.fromarray(image).save(folder / f"{name}.png")
    return folder


def test_the_page_shows_every_image_with_its_facts_and_files(seeded_small, photos, tmp_path):
    out = tmp_path / "out"
    (photos / "bad.png").write_bytes(b"")
    paths = sorted(photos.iterdir())
    run_images(seeded_small, paths, out, "mini_npz-depth_png", index=True, **SMALL)
    page = read(out)
    assert page.headings == ["bad.png", STRANGE, "b9", "b10"]  # failures, then by name
    assert page.scripts == 1
    assert sorted(page.pictures) == sorted(f"thumbnails/{one}.jpg" for one in NAMES)
    results = {f"{kind}/{one}" for one in NAMES for kind in ("mini_npz", "depth_png")}
    assert {os.path.splitext(one)[0] for one in page.links} == {*results, *(f"thumbnails/{one}" for one in NAMES)}
    depth = load_prediction(out / "mini_npz" / "b9.npz").depth
    assert f"depth {depth.min():.3g} to {depth.max():.3g} (relative)" in page.text
    assert "56 × 42 pixels; depth 56 × 42" in page.text
    assert "3 result(s), 1 failed · da3-small" in page.text
    assert f"{photos / 'bad.png'}: " in page.text
    assert "http" not in (out / "index.html").read_text(encoding="utf-8")  # nothing from elsewhere
    image = np.asarray(Image.open(out / "thumbnails" / "b9.jpg")).astype(int)
    assert image.shape == (42, 112, 3)


def test_thumbnails_have_the_colours_of_the_run(seeded_small, photos, tmp_path):
    options = ExportOptions(colormap="gray", shared_range=True)
    paths = [photos / f"{one}.png" for one in ("b9", "b10")]
    Image.fromarray(np.asarray(Image.open(paths[0])) // 8).save(paths[0])  # its depth differs from that of b10
    run_images(seeded_small, paths, tmp_path, "depth_color", index=True, export_options=options, **SMALL)
    for name in ("b9", "b10"):
        shown = np.asarray(Image.open(tmp_path / "thumbnails" / f"{name}.jpg"), int)[:, 56:]
        assert np.abs(shown - np.asarray(Image.open(tmp_path / "depth_color" / f"{name}.png"), int)).mean() < 8
    assert sorted(read(tmp_path).pictures) == ["thumbnails/b10.jpg", "thumbnails/b9.jpg"]


def test_depth_vis_is_the_thumbnail_and_earlier_runs_stay_on_the_page(seeded_small, photos, tmp_path):
    out, paths = tmp_path / "out", sorted(photos.iterdir())
    run_images(seeded_small, paths[:1], out, "depth_vis", **SMALL)
    report = run_images(seeded_small, paths, out, "depth_vis", index=True, resume=True, **SMALL)
    assert (report.images, report.skipped) == (2, 1)
    page = read(out)
    assert page.headings == [STRANGE, "b9", "b10"]
    assert page.pictures == [f"depth_vis/{one}.jpg" for one in page.headings]
    assert not (out / "thumbnails").exists()
    report = run_images(seeded_small, paths, out, "depth_vis", index=True, resume=True, **SMALL)
    assert (report.images, report.skipped, read(out).headings) == (0, 3, page.headings)


def test_a_run_that_stops_leaves_the_page_of_what_was_done(seeded_small, photos, tmp_path):
    (photos / "b9.png").write_bytes(b"not a PNG")
    with pytest.raises(ImageDecodeError) as stopped:
        run_images(
            *(seeded_small, [photos / f"{one}.png" for one in NAMES], tmp_path / "out", "depth_png"),
            index=True,
            **{**SMALL, "on_error": "raise"},
        )
    page = read(tmp_path / "out")
    assert page.headings == [STRANGE, "b10"]
    assert f"The run was stopped: {stopped.value}" in page.text


def test_page_and_thumbnails_are_results_that_later_runs_remove(seeded_small, photos, tmp_path):
    run_images(seeded_small, [photos / "b9.png"], tmp_path / "out", "depth_png", index=True, **SMALL)
    manifest = Manifest(tmp_path / "out")
    assert manifest.results == ("depth_png", "index.html", "thumbnails")
    manifest.remove_results()
    assert not list((tmp_path / "out").iterdir())


def test_an_old_thumbnail_goes_with_the_result_that_it_shows(seeded_small, photos, tmp_path):
    line = (seeded_small, [photos / "b9.png"], tmp_path / "out", "depth_png")
    run_images(*line, index=True, **SMALL)
    run_images(*line, **{**SMALL, "process_res": 70})
    assert "thumbnails/b9.jpg" not in files_in(tmp_path / "out")
    index_of_folder(tmp_path / "out")
    assert read(tmp_path / "out").pictures == ["depth_png/b9.png"]


def test_a_scene_is_shown_whole_and_by_view(seeded_small, photos, tmp_path):
    out = tmp_path / "out"
    run_views(seeded_small, [photos / "b9.png", photos / "b10.png"], out, "mini_npz", index=True, **SMALL)
    page = read(out)
    assert page.headings == ["0000 b9.png", "0001 b10.png", "scene of 2 view(s)"]
    assert page.pictures == ["thumbnails/0000.jpg", "thumbnails/0001.jpg"]
    assert {"exports/mini_npz/results.npz", "views.json"} <= {*page.links}


def test_the_page_of_a_finished_folder_has_what_other_commands_wrote(seeded_small, photos, tmp_path):
    out = tmp_path / "out"
    run_images(seeded_small, [photos / "b9.png"], out, "npz", **SMALL)
    Manifest(out).add_results(export(load_prediction(out / "npz" / "b9.npz"), out, "tiff-depth_vis", "b9"))
    assert index_of_folder(out) == out / "index.html"
    page = read(out)
    assert {*page.links} == {"npz/b9.npz", "tiff/b9.tiff", "depth_vis/b9.jpg"}
    assert page.pictures == ["depth_vis/b9.jpg"]
    (out / "depth_vis" / "b9.jpg").unlink()
    index_of_folder(out)
    assert read(out).pictures == []


def test_a_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"has no manifest\.json"):
        index_of_folder(tmp_path)
    assert not list(tmp_path.iterdir())


def test_overwrite_replaces_results_of_another_source_without_a_warning(seeded_small, photos, tmp_path, caplog):
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(seeded_images_uint8(1, 28, 56, seed=5)[0]).save(other / "b9.png")
    run_images(seeded_small, [photos / "b9.png"], tmp_path / "out", "npz", **SMALL)
    report = run_images(seeded_small, [other / "b9.png"], tmp_path / "out", "npz", overwrite=True, **SMALL)
    assert (report.images, report.skipped, caplog.text) == (1, 0, "")
    run_images(seeded_small, [photos / "b9.png"], tmp_path / "out", "npz", **SMALL)
    assert "replaced the results of" in caplog.text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_real_browser_filters_and_sorts(seeded_small, photos, tmp_path):
    out = tmp_path / "out"
    run_images(seeded_small, [photos / f"{one}.png" for one in NAMES], out, "depth_vis", index=True, **SMALL)
    use = """<script>
      filter.value = "100% ALERT(";
      filter.dispatchEvent(new Event("input"));
      const kept = count.textContent;
      sort.value = "-name";
      sort.dispatchEvent(new Event("change"));
      onload = () => setTimeout(() => {
        const loaded = Array.from(document.images, (one) => one.naturalWidth);
        const names = Array.from(list.children, (one) => one.querySelector("h3").textContent.slice(0, 3)).join();
        document.title = kept + ";" + names + ";" + Math.max(...loaded);
      }, 500);
    </script></body>"""
    text = (out / "index.html").read_text(encoding="utf-8")
    (out / "used.html").write_text(text.replace("</body>", use), encoding="utf-8")
    page = run_chromium((out / "used.html").as_uri(), tmp_path, "--virtual-time-budget=3000", "--dump-dom")
    title = re.search("<title>(.*)</title>", page)
    assert title is not None
    assert title[1] == "1 of 3 shown;b10,b9,a #;112"
