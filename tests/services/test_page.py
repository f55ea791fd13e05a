"""The page in a real browser, on a server whose depth is known."""

from __future__ import annotations

import base64
import io
import re
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from depth_anything_3.export.colormap import colorize_depth
from support.browser import open_browser
from support.chromium import CHROMIUM
from support.page_server import problem, serve_page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

HEIGHT, WIDTH = 42, 56
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
DEPTH = 1 + 0.02 * COLUMNS + 0.01 * ROWS  # smooth: no edges
DEPTH[0, :8] = np.nan  # invalid
DEPTH[1, :8] = 0


def draw_photo(color=(200, 120, 40), size=(224, 168), kind="PNG"):
    buffer = io.BytesIO()
    image = Image.new("RGB", size, color)
    image.paste((30, 60, 200), (size[0] // 2, 0, size[0], size[1]))
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    fake_camera = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with open_browser(tmp_path_factory.mktemp("chromium"), *fake_camera) as browser:
        yield browser


def start(browser, server, width=1280, height=860):
    """Open the page, and check its console and addresses from here on."""
    browser.problems.clear()
    browser.addresses.clear()
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    browser.evaluate("sessionStorage.clear()") if browser.evaluate("location.protocol") == "http:" else None
    browser.open(server.url)
    browser.wait("document.querySelectorAll('#colormap option').length > 0")


def upload(browser, *names):
    names = names or ("garden.png",)
    browser.drop(*[(name, draw_photo()) for name in names])
    browser.wait(f"document.getElementById('status').textContent === '{names[0]}: ready'")
    browser.wait("document.getElementById('depth').width > 1")


def choose(browser, name, value):
    browser.evaluate(f"""(() => {{
        const input = document.getElementById('{name}');
        input.type === 'checkbox' ? input.checked = {str(value).lower()} : input.value = '{value}';
        for (const type of ['input', 'change']) input.dispatchEvent(new Event(type, {{bubbles: true}}));
    }})()""")


def text(browser, name):
    return browser.evaluate(f"document.getElementById('{name}').textContent")


def box(browser, name):
    rect = browser.evaluate(f"document.getElementById('{name}').getBoundingClientRect().toJSON()")
    return {key: rect[key] for key in ("x", "y", "width", "height")}


def place(browser, name, column, row):
    """Place of the centre of a pixel of the depth map in an element."""
    area = box(browser, name)
    return area["x"] + area["width"] * (column + 0.5) / WIDTH, area["y"] + area["height"] * (row + 0.5) / HEIGHT


def pixels(browser, name):
    """RGB of a canvas."""
    size = browser.evaluate(f"[document.getElementById('{name}').height, document.getElementById('{name}').width]")
    sent = browser.evaluate(f"""(() => {{
        const canvas = document.getElementById('{name}');
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return btoa(Array.from(data, (value) => String.fromCharCode(value)).join(''));
    }})()""")
    return np.frombuffer(base64.b64decode(sent), np.uint8).reshape(*size, 4)[..., :3]


def picture(browser, name):
    browser.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    with Image.open(io.BytesIO(browser.screenshot(box(browser, name)))) as image:
        return np.asarray(image.convert("RGB"), np.int16)


def open_cloud(browser):
    browser.evaluate("document.querySelector('input[value=cloud]').click()")
    return wait_for_points(browser)


def wait_for_points(browser, condition="points > 0"):
    return browser.wait(
        f"(() => {{ const points = Number(document.getElementById('cloud-canvas').dataset.points);"
        f" return {condition} && points; }})()"
    )


def check_quiet(browser, server):
    """Nothing went wrong, and nobody else was asked."""
    assert browser.problems == []
    hosts = {urlsplit(address).netloc for address in browser.addresses if not address.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(server.url).netloc}


def test_a_dropped_photo_gets_its_depth_and_the_pointer_reads_it(browser):
    with serve_page(DEPTH) as server:
        start(browser, server)
        upload(browser)
        assert text(browser, "model") == "test · depth in metres · Apache-2.0"
        levels = np.abs(pixels(browser, "depth").astype(int) - colorize_depth(np.nan_to_num(DEPTH)))
        assert (levels > 0).any(axis=2).mean() < 0.01  # float32 against float64 at the bounds of a colour
        for column, row in ((10, 30), (45, 5)):
            browser.move(*place(browser, "depth-pane", column, row))
            assert text(browser, "reading") == f"{DEPTH[row, column]:.2f} m"
            assert text(browser, "reading-place") == f"column {column}, row {row}"
        browser.move(*place(browser, "depth-pane", 3, 0))
        assert text(browser, "reading") == "no depth"
        sent = server.requests[-1]
        assert (sent.path, sent.headers["accept"]) == ("/v1/depth", "application/octet-stream")
        assert sent.body == draw_photo()
        check_quiet(browser, server)


@pytest.mark.slow
def test_the_slider_moves_by_mouse_and_keys(browser):
    with serve_page(DEPTH) as server:
        start(browser, server)
        upload(browser)
        before = picture(browser, "stage")
        area = box(browser, "stage")
        middle, down = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
        browser.drag((middle, down), (middle - area["width"] / 4, down))
        assert abs(float(browser.evaluate("document.getElementById('split').value")) - 25) < 3
        after = picture(browser, "stage")
        assert np.abs(after - before).mean() > 5  # a quarter of the photo became depth
        browser.evaluate("document.getElementById('split').focus()")
        browser.press("ArrowRight")
        assert browser.evaluate("document.getElementById('split').getAttribute('aria-valuetext')").endswith(
            "percent photo"
        )
        assert float(browser.evaluate("document.getElementById('split').value")) > 25
        browser.evaluate("document.querySelector('input[value=side]').click()")
        photo, depth = box(browser, "photo-pane"), box(browser, "depth-pane")
        assert photo["x"] + photo["width"] <= depth["x"] + 1
        assert photo["width"] == pytest.approx(depth["width"], abs=1)
        check_quiet(browser, server)


@pytest.mark.slow
def test_keys_read_depth(browser):
    with serve_page(DEPTH, unit="relative") as server:
        start(browser, server)
        upload(browser)
        browser.evaluate("document.getElementById('probe').focus()")
        browser.press("ArrowRight")
        browser.press("ArrowUp", shift=True)
        assert text(browser, "reading") == f"{DEPTH[20, 29]:.2f} relative"
        assert browser.evaluate("document.getElementById('reading').getAttribute('aria-live')") == "polite"


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["inverse", "linear"])
def test_colours_follow_the_choices(browser, scale):
    with serve_page(DEPTH) as server:
        start(browser, server)
        upload(browser)
        choose(browser, "colormap", "gray")
        choose(browser, "scale", scale)
        row = pixels(browser, "depth")[20, :, 0].astype(int)
        values = DEPTH[20] if scale == "linear" else 1 / DEPTH[20]
        slope = np.diff(row[5:50])
        assert (slope <= 0).all()  # near is bright
        curved = abs(row[27] - (row[5] + row[50]) / 2) / (row[5] - row[50])
        expected = abs(values[27] - (values[5] + values[50]) / 2) / abs(values[5] - values[50])
        assert curved == pytest.approx(expected, abs=0.02)
        assert re.fullmatch(r"near [\d.]+ m", text(browser, "near"))


@pytest.mark.slow
def test_every_valid_pixel_is_a_point_and_turning_changes_the_picture(browser):
    with serve_page(DEPTH, intrinsics="56,56,28,21") as server:
        start(browser, server)
        upload(browser)
        drawn = open_cloud(browser)
        assert drawn >= 0.95 * (DEPTH > 0).sum()
        assert "Field of view 53°" in text(browser, "cloud-facts")
        before = picture(browser, "cloud")
        colors = {tuple(color) for color in before.reshape(-1, 3)}
        assert (200, 120, 40) in colors  # those of the photo
        assert (30, 60, 200) in colors
        area = box(browser, "cloud")
        middle = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
        browser.drag(middle, (middle[0] + 200, middle[1] + 40))
        turned = picture(browser, "cloud")
        assert (np.abs(turned - before).max(axis=2) > 40).mean() > 0.03
        browser.evaluate("document.getElementById('cloud-canvas').focus()")
        browser.press("ArrowLeft")
        assert (np.abs(picture(browser, "cloud") - turned).max(axis=2) > 40).mean() > 0.003
        browser.evaluate("document.getElementById('reset-view').click()")
        inside = np.s_[10:-60, 10:-10]  # without the focus ring and the hint
        assert (np.abs(picture(browser, "cloud") - before)[inside].max(axis=2) > 40).mean() < 0.001
        check_quiet(browser, server)


@pytest.mark.slow
def test_edges_sky_and_a_limit_hide_points_and_a_new_photo_frees_the_old_ones(browser):
    depth = np.where(COLUMNS < 28, np.float32(2), np.float32(5)) + 0.01 * ROWS + 0.001 * COLUMNS
    depth[:10] = 9  # sky, as the server fills it
    with serve_page(depth) as server:
        start(browser, server)
        upload(browser)
        shown = open_cloud(browser)
        below = 32 * WIDTH
        assert shown == below - 2 * 32 - (WIDTH - 2)  # without both sides of the jump, and the row below the sky
        assert "60° is assumed" in text(browser, "cloud-facts")
        choose(browser, "hide-edges", False)
        assert wait_for_points(browser, f"points === {below}")
        choose(browser, "hide-sky", False)
        assert wait_for_points(browser, f"points === {HEIGHT * WIDTH}")
        choose(browser, "far-limit", 50)
        assert wait_for_points(browser, f"points < {0.55 * HEIGHT * WIDTH}")
        upload(browser, "other.png")
        wait_for_points(browser)
        assert browser.evaluate("document.getElementById('cloud-canvas').dataset.geometries") == "1"
        check_quiet(browser, server)


@pytest.mark.slow
def test_downloads_are_the_same_request_in_another_format(browser, tmp_path):
    with serve_page(DEPTH, model={"scenes": True, "has_cameras": True}) as server:
        start(browser, server)
        browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        upload(browser)
        choose(browser, "colormap", "turbo")
        choose(browser, "output-size", "input")
        for suffix, kind in ((".png", "image/png"), (".npz", "application/x-npz"), (".exr", "image/x-exr"),
                             (".tiff", "image/tiff"), (".jpg", "image/jpeg")):  # fmt: skip
            name = f"garden_depth{suffix}"
            browser.evaluate(f"document.querySelector('[data-format=\"{suffix}\"]').click()")
            browser.wait(f"document.getElementById('download-status').textContent === '{name} is ready.'")
            sent = server.requests[-1]
            assert sent.headers["accept"] == kind
            assert sent.query == {"output_size": "input"} | ({"colormap": "turbo"} if suffix == ".jpg" else {})
            browser.wait_for_file(tmp_path / name)
            assert (tmp_path / name).read_bytes() == b"as " + kind.encode()
        browser.evaluate("document.querySelector('[data-format=\".glb\"]').click()")
        browser.wait("document.getElementById('download-status').textContent === 'garden.glb is ready.'")
        browser.wait_for_file(tmp_path / "garden.glb")
        assert (tmp_path / "garden.glb").read_bytes() == b"glTF"
        check_quiet(browser, server)


@pytest.mark.slow
def test_photos_are_pasted_chosen_and_taken(browser, tmp_path):
    (tmp_path / "chosen.png").write_bytes(draw_photo())
    with serve_page(DEPTH) as server:
        start(browser, server)
        browser.evaluate("""(() => {
            const canvas = document.createElement('canvas');
            return new Promise((done) => canvas.toBlob((blob) => {
                const clipboardData = new DataTransfer();
                clipboardData.items.add(new File([blob], 'pasted.png', {type: 'image/png'}));
                document.dispatchEvent(new ClipboardEvent('paste', {clipboardData}));
                done();
            }));
        })()""")
        browser.wait("document.getElementById('status').textContent === 'pasted.png: ready'")
        root = browser.call("DOM.getDocument")["root"]["nodeId"]
        node = browser.call("DOM.querySelector", nodeId=root, selector="#files")["nodeId"]
        browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(tmp_path / "chosen.png")])
        browser.wait("document.getElementById('status').textContent === 'chosen.png: ready'")
        browser.evaluate("document.querySelector('.strip [data-action=take]').click()")
        browser.wait("!document.getElementById('shutter').disabled && document.getElementById('camera-dialog').open")
        browser.evaluate("document.getElementById('shutter').click()")
        browser.wait("document.getElementById('status').textContent === 'camera.jpg: ready'")
        assert not browser.evaluate("document.getElementById('camera-dialog').open")
        with Image.open(io.BytesIO(server.requests[-1].body)) as taken:
            assert taken.format == "JPEG"
            assert np.asarray(taken.convert("L")).std() > 5  # something is on it
        check_quiet(browser, server)


@pytest.mark.slow
def test_several_photos_and_a_scene_of_them(browser):
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {HEIGHT * WIDTH}\n"
    columns = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    vertices = np.zeros(HEIGHT * WIDTH, columns)
    vertices["x"], vertices["y"], vertices["z"] = COLUMNS.ravel() / 28 - 1, ROWS.ravel() / 21 - 1, 2
    vertices["red"] = 255
    header += "".join(f"property {'float' if kind == '<f4' else 'uchar'} {name}\n" for name, kind in columns)
    ply = header.encode() + b"end_header\n" + vertices.tobytes()
    with serve_page(DEPTH, model={"scenes": True, "has_cameras": True}, scene_ply=ply) as server:
        start(browser, server)
        upload(browser, "a.png", "b.png", "c.png")
        browser.wait("document.querySelectorAll('.thumb[data-status=done] canvas').length === 3")
        assert sum(request.path == "/v1/depth" for request in server.requests) == 3
        browser.evaluate("document.getElementById('as-scene').click()")
        assert wait_for_points(browser, f"points === {HEIGHT * WIDTH}")
        sent = next(request for request in server.requests if request.path == "/v1/scenes")
        assert sent.body.count(b'name="images"; filename=') == 3
        assert browser.evaluate("[...document.querySelectorAll('#downloads button')].map((b) => b.dataset.format)") == [
            ".glb",
            ".ply",
        ]
        assert (255, 0, 0) in {tuple(color) for color in picture(browser, "cloud").reshape(-1, 3)}
        browser.evaluate("document.getElementById('remove').click()")
        browser.wait("document.querySelectorAll('.thumb').length === 3")
        check_quiet(browser, server)
        assert ("DELETE", "/v1/jobs/7") in {(request.method, request.path) for request in server.requests}


@pytest.mark.slow
def test_a_photo_that_the_browser_cannot_decode_gets_its_depth(browser):
    with serve_page(DEPTH) as server:
        start(browser, server)
        browser.drop(("IMG_7.heic", b"not for this browser"))
        browser.wait("document.getElementById('status').textContent === 'IMG_7.heic: ready'")
        browser.wait("document.getElementById('depth').width > 1")
        assert "cannot show this kind of photo" in text(browser, "warnings")
        browser.move(*place(browser, "depth-pane", 10, 30))
        assert text(browser, "reading") == f"{DEPTH[30, 10]:.2f} m"
        assert open_cloud(browser) >= 0.95 * (DEPTH > 0).sum()
        assert browser.wait("document.querySelector('.thumb canvas').width") == WIDTH
        check_quiet(browser, server)


@pytest.mark.slow
def test_the_token_is_asked_for_once_and_kept_for_the_tab(browser):
    with serve_page(DEPTH, token="secret") as server:
        start(browser, server)
        browser.wait("document.getElementById('token-dialog').open")
        for given in ("wrong", "secret"):
            browser.wait("document.getElementById('token-dialog').open")
            choose(browser, "token", given)
            browser.evaluate("document.querySelector('#token-form button').click()")
            browser.wait("!document.getElementById('token-dialog').open || /refused/.test("
                         "document.getElementById('token-title').textContent)")  # fmt: skip
        browser.wait("document.getElementById('model').textContent")
        upload(browser)
        assert browser.evaluate("[localStorage.length, sessionStorage.length]") == [0, 1]


@pytest.mark.slow
def test_a_busy_server_is_asked_again_and_other_errors_are_shown(browser):
    busy = problem(429, "the queue is full", Retry_After="1")
    bad = problem(422, "photo.png: truncated PNG; copy it again")
    with serve_page(DEPTH, refusals=[busy, bad]) as server:
        start(browser, server)
        browser.drop(("photo.png", draw_photo()))
        browser.wait("document.getElementById('busy-text').textContent.startsWith('The server is busy')")
        browser.wait("document.getElementById('busy').classList.contains('failed')")
        assert text(browser, "busy-text") == "photo.png: truncated PNG; copy it again"
        browser.evaluate("document.getElementById('cancel').click()")  # try again
        browser.wait("document.getElementById('status').textContent === 'photo.png: ready'")
        browser.drop(("notes.txt", b"hello"))
        assert "notes.txt is not an image." in text(browser, "errors")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["compare", "side", "cloud"])
def test_a_phone_shows_everything_without_scrolling_sideways(browser, mode):
    with serve_page(DEPTH) as server:
        start(browser, server, width=360, height=740)
        upload(browser)
        browser.evaluate(f"document.querySelector('input[value={mode}]').click()")
        wide = browser.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360
        stage, panel = box(browser, "stage-area"), box(browser, "downloads")
        assert stage["width"] > 320
        assert stage["y"] + stage["height"] < panel["y"]
        check_quiet(browser, server)
