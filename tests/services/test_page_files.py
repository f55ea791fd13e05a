"""The files of the page: what the content security policy and the wheel ask of them."""

from __future__ import annotations

import base64
import re

import pytest

from depth_anything_3.export.colormap import Colormap, color_table
from support.page_server import PAGE

MAX_BYTES = 100_000
VENDOR = PAGE / "vendor"
OWN = sorted(path for path in PAGE.iterdir() if path.is_file())
HTML = (PAGE / "index.html").read_text(encoding="utf-8")


def test_our_own_code_is_small():
    assert sum(path.stat().st_size for path in OWN) < MAX_BYTES


def test_nothing_is_inline():
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", HTML)
    assert re.findall(r"<script([^>]*)>(.*?)</script>", HTML) == [(' type="module" src="static/main.js"', "")]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_file_names_another_host(path):
    found = re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}[^\s\"')]*", path.read_text(encoding="utf-8"))
    assert [address for address in found if address != "http://www.w3.org/2000/svg"] == []


def test_three_js_names_no_host_either():
    found = re.findall(r"https?://[\w./-]+", (VENDOR / "three.min.js").read_text(encoding="utf-8"))
    assert set(found) == {"http://www.w3.org/1999/xhtml"}  # a namespace


def test_every_file_that_is_named_exists():
    named = {PAGE / name for name in re.findall(r"(?:src|href)=\"static/([^\"]+)\"", HTML)}
    for path in OWN:
        if path.suffix == ".js":
            named |= {PAGE / name for name in re.findall(r"(?:from|import\() ?'\./([^']+)'", path.read_text("utf-8"))}
        if path.suffix == ".css":
            named |= {PAGE / name for name in re.findall(r"url\(\"([^\"]+)\"\)", path.read_text("utf-8"))}
    assert VENDOR / "three.min.js" in named
    assert [path for path in named if not path.is_file()] == []
    assert [path for path in OWN if path not in named and path.name != "index.html"] == []


def test_every_element_that_a_script_asks_for_exists():
    ids = re.findall(r"\sid=\"([^\"]+)\"", HTML)
    assert len(ids) == len(set(ids))
    asked = {
        name
        for path in OWN
        if path.suffix == ".js"
        for name in re.findall(r"(?:\$|\bfind)\('#?([\w-]+)'\)", path.read_text("utf-8"))
    }
    assert len(asked) > 30
    assert asked - set(ids) == set()


def test_three_js_comes_with_its_version_and_license():
    version = re.match(r"# three\.js 0\.(\d+)\.", (VENDOR / "README.md").read_text(encoding="utf-8"))
    assert version is not None
    assert f'"{version[1]}"' in (VENDOR / "three.min.js").read_text(encoding="utf-8")
    assert "MIT License" in (VENDOR / "LICENSE").read_text(encoding="utf-8")


def test_the_colour_maps_are_those_of_the_package():
    text = (PAGE / "colormaps.js").read_text(encoding="utf-8")
    tables = {name: base64.b64decode(table) for name, table in re.findall(r"  (\w+): '([^']+)'", text)}
    assert tables == {name.value: color_table(name).tobytes() for name in Colormap}
