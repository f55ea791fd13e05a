"""The page on the real server, with the bundled network."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from urllib.parse import urlsplit

import numpy as np
import pytest

from depth_anything_3 import DepthAnything3
from depth_anything_3.jobs.demo import demo_images
from support.browser import open_browser
from support.chromium import CHROMIUM
from support.serving import serve_on_socket

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


@pytest.fixture(scope="module")
def url():
    """Address of `da3 serve`."""
    command = [sys.executable, "-m", "depth_anything_3", "serve", "-m", "da3-nano", "--device", "cpu", "--port", "0"]
    unbuffered = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=unbuffered
    ) as process:
        assert process.stdout is not None
        try:
            yield next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
        finally:
            process.terminate()
            process.stdout.read()


def test_a_demo_image_gets_the_depth_of_the_api(url, tmp_path):
    image = demo_images()[0]
    expected = DepthAnything3.from_pretrained("da3-nano").depth(image.path).depth[0]
    height, width = expected.shape
    with open_browser(tmp_path) as browser:
        browser.open(url)
        browser.wait("document.getElementById('model').textContent.startsWith('da3-nano')")
        browser.drop((image.path.name, image.path.read_bytes()))
        browser.wait("document.getElementById('status').textContent.endsWith(': ready')")
        assert (
            browser.wait("document.getElementById('depth').width > 1 && document.getElementById('depth').width")
            == width
        )
        area = browser.evaluate("document.getElementById('depth-pane').getBoundingClientRect().toJSON()")
        for row, column in ((height // 2, width - 9), (height - 5, width // 3), (20, 20)):
            browser.move(area["x"] + area["width"] * (column + 0.5) / width,
                         area["y"] + area["height"] * (row + 0.5) / height)  # fmt: skip
            words = browser.evaluate("document.getElementById('reading').textContent")
            number, unit = words.split()
            assert unit == "relative"
            assert float(number) == pytest.approx(expected[row, column], rel=6e-3)  # as many digits as it shows
        browser.evaluate(
            "document.getElementById('hide-edges').checked = document.getElementById('hide-sky').checked = false"
        )
        browser.evaluate("document.querySelector('input[value=cloud]').click()")
        points = browser.wait("Number(document.getElementById('cloud-canvas').dataset.points)")
        assert points == (np.isfinite(expected) & (expected > 0)).sum()
        assert browser.problems == []
        assert {urlsplit(address).netloc for address in browser.addresses} == {urlsplit(url).netloc}


def test_downloads_are_files_of_their_kind(url, tmp_path):
    image = demo_images()[1]
    with open_browser(tmp_path) as browser:
        browser.open(url)
        browser.wait("document.getElementById('model').textContent")
        browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path), eventsEnabled=True)
        browser.drop((image.path.name, image.path.read_bytes()))
        browser.wait("document.getElementById('status').textContent.endsWith(': ready')")
        starts = {".png": b"\x89PNG", ".npz": b"PK", ".exr": b"v/1\x01", ".tiff": b"II*\0", ".jpg": b"\xff\xd8"}
        for suffix, start in starts.items():
            name = f"{image.path.stem}_depth{suffix}"
            browser.evaluate(f"document.querySelector('[data-format={json.dumps(suffix)}]').click()")
            browser.wait(f"document.getElementById('download-status').textContent === '{name} is ready.'")
            browser.wait_for_file(tmp_path / name)
            assert (tmp_path / name).read_bytes().startswith(start)


def test_a_scene_is_computed_and_its_points_are_shown(seeded_small, tmp_path):
    photos = [(image.path.name, image.path.read_bytes()) for image in demo_images()[:2]]
    with serve_on_socket(seeded_small) as address, open_browser(tmp_path) as browser:
        browser.open(address)
        browser.wait("document.getElementById('model').textContent")
        browser.drop(*photos)
        browser.wait("document.querySelectorAll('.thumb[data-status=done] canvas').length === 2")
        browser.evaluate("document.getElementById('as-scene').click()")
        assert browser.wait("Number(document.getElementById('cloud-canvas').dataset.points)") > 1000
        offered = "[...document.querySelectorAll('#downloads button')].map((b) => b.dataset.format)"
        assert browser.evaluate(offered) == [".glb", ".ply", ".npz"]
        shot = browser.call("Page.captureScreenshot")["data"]
        (tmp_path / "scene.png").write_bytes(base64.b64decode(shot))
        assert browser.problems == []
