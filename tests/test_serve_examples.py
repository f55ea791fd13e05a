"""The clients of examples/serve/ get the depth of the server, wait while it is busy, and report its errors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.server_process import server_process
from support.serving import depth_of, grey_jpeg

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "examples" / "serve"
TOKEN = "0123456789abcdef-token"
CLIENTS = {"client.py": sys.executable, "client.mjs": shutil.which("node")}


@pytest.fixture(scope="module")
def server():
    """A server of one place, so that the second of two requests at the same time is refused."""
    with server_process(0.05, token=TOKEN, max_requests=1) as server:
        yield server


@pytest.fixture
def run(server, tmp_path):
    for name, level in (("a", 60), ("b", 200)):
        (tmp_path / f"{name}.jpg").write_bytes(grey_jpeg(level))
    (tmp_path / "text.jpg").write_text("no image")

    def run_client(program, script, *words, token=TOKEN):
        if program is None:
            pytest.skip(f"needs a program for {script}")
        variables = {**os.environ, "DA3_URL": str(server.client.base_url).rstrip("/"), "DA3_TOKEN": token}
        command = [program, EXAMPLES / script, *words]
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120)

    return run_client


@pytest.mark.parametrize("script", CLIENTS)
def test_a_client_prints_the_depth_of_each_photo(run, script):
    ended = run(CLIENTS[script], script, "a.jpg", "b.jpg")
    assert ended.returncode == 0, ended.stderr
    low, high = f"{depth_of(60):.3f}", f"{depth_of(200):.3f}"
    lines = sorted(ended.stdout.splitlines())
    assert lines[0].startswith("a.jpg: 504x378, ")
    assert lines[0].endswith(", relative")
    values = [float(line.split()[2]) for line in lines]
    np.testing.assert_allclose(values, [float(low), float(high)], atol=0.02)


@pytest.mark.parametrize("script", CLIENTS)
@pytest.mark.parametrize(
    ("word", "token", "part"), [("text.jpg", TOKEN, "not-an-image"), ("a.jpg", "wrong", "no-token")]
)
def test_a_client_reports_errors(run, script, word, token, part):
    ended = run(CLIENTS[script], script, word, token=token)
    assert ended.returncode == 1
    assert f"urn:da3:error:{part}" in ended.stderr


def test_curl_saves_a_png_and_its_scale(run, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    ended = run("/bin/sh", "curl.sh", "a.jpg", "depth.png")
    assert ended.returncode == 0, ended.stderr
    found = dict(line.lower().split(": ") for line in ended.stdout.splitlines())
    assert (found["x-depth-unit"], found["x-depth-shape"]) == ("relative", "42,56")
    depth = np.asarray(Image.open(tmp_path / "depth.png")) * float(found["x-depth-scale"])
    np.testing.assert_allclose(depth, depth_of(60), atol=0.02)
    assert run("/bin/sh", "curl.sh", "text.jpg", "none.png").returncode != 0


def test_the_readme_names_every_example():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in text for path in EXAMPLES.iterdir() if path.name != "README.md")
