"""Let a server, `da3 backend`, compute the views of one scene."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from depth_anything_3.cli.console import escape_message, stderr
from depth_anything_3.cli.network_flags import MetricFlags
from depth_anything_3.cli.options import ModelFlags, OutputOptions, WriterFlags
from depth_anything_3.cli.scene_run import SceneRun, clean, formats_without_choice
from depth_anything_3.errors import DA3Error, InvalidInputError, UnsupportedError

if TYPE_CHECKING:
    from depth_anything_3.inference.views import GivenCameras, ViewOptions
    from depth_anything_3.jobs.report import RunReport

__all__ = ["compute_at_backend"]

_TIMEOUT = 60.0  # seconds for one answer
_MIN_INTERVAL, _MAX_INTERVAL = 0.05, 1.0  # seconds between two questions
_MAX_LOST = 10  # questions in a row without an answer
_WRITERS = ("conf_thresh_percentile", "num_max_points", "show_cameras", "feat_vis_fps", "colormap")
_PREPROCESS = ("process_res", "process_res_method", "exif", "fidelity", "mixed_sizes", "on_error")
# They change speed, not results.
_SPEED = ("strategy", "num_workers", "executor")


class _NoAnswerError(DA3Error):
    """There is no server, or the connection was lost."""


class _Backend:
    """Asks a server.

    Args:
        url: its address.

    Raises:
        InvalidInputError: it is no address.
    """

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise InvalidInputError(f"--backend-url {url}: give an address such as http://localhost:8008")
        self._url, self._token = url.rstrip("/"), os.environ.get("DA3_TOKEN", "")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # Any: JSON
        """Send a request and return the JSON of the answer.

        Raises:
            DA3Error: there is no server, or it refuses.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310 (checked)
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise DA3Error(f"{self._url}{path}: {_detail(error)}") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise _NoAnswerError(
                f"{self._url}: no answer of a server ({reason}); start one with da3 backend --allow-paths DIR, or omit "
                "--use-backend"
            ) from error


def compute_at_backend(
    paths: Sequence[Path], run: SceneRun, options: ViewOptions, cameras: GivenCameras | None
) -> RunReport:
    """Submit a scene, wait for it, and return the report. The server reads and writes the same files.

    Args:
        paths: the views.
        run: where and how results are written, and the address of the server.
        options: preprocessing and network.
        cameras: known cameras of the views.

    Raises:
        InvalidInputError: a flag has no effect at a server.
        UnsupportedError: the server is not `da3 backend` of this package, or has another model.
        DA3Error: it cannot be reached, or the scene failed.
    """
    from depth_anything_3.jobs.report import RunReport

    _check_flags(run, options)
    backend = _Backend(run.backend.backend_url)
    model = _check_server(backend, run)
    results = run.results
    if not results.export_format:
        results = replace(results, export_format=formats_without_choice(model["model"], model["has_cameras"]))
    folder = results.destination(run.writers, run.metric).folder
    clean(folder, auto_cleanup=run.auto_cleanup, resume=False)
    request = {
        "image_paths": [str(path.resolve()) for path in paths],
        "export_dir": str(folder.resolve()),
        "export_format": results.export_format,
        **_options(run, options),
    }
    if cameras is not None and cameras.extrinsics is not None:
        request |= {
            "extrinsics": np.asarray(cameras.extrinsics, np.float64).tolist(),
            "intrinsics": np.asarray(cameras.intrinsics, np.float64).tolist(),
            "align_to_input_ext_scale": cameras.align_depth,
        }
    task = _wait(backend, backend.ask("POST", "/inference", request)["task_id"], len(paths))
    if task["status"] != "completed" and task.get("report") is None:
        raise DA3Error(f"{run.backend.backend_url}: the scene failed: {task['message']}")
    report = RunReport.from_dict(task["report"])
    if run.report:
        report.write(folder / "report.json")
    return report


def _check_flags(run: SceneRun, options: ViewOptions) -> None:
    """Refuse flags that the server does not get: they would have no effect."""
    from depth_anything_3.inputs.options import PreprocessOptions

    default = PreprocessOptions()
    sent = {name: getattr(default, name) for name in (*_PREPROCESS, *_SPEED)}
    changed = [one.name for one in fields(default) if getattr(replace(options.preprocess, **sent), one.name)
               != getattr(default, one.name)]  # fmt: skip
    writers = WriterFlags()
    changed += [
        one.name
        for one in fields(writers)
        if one.name not in _WRITERS and getattr(run.writers, one.name) != getattr(writers, one.name)
    ]
    changed += ["metric"] * (run.metric != MetricFlags()) + ["output_size"] * (run.output != OutputOptions())
    changed += [name for name in ("resume", "overwrite", "index") if getattr(run, name)]
    if changed:
        raise UnsupportedError(f"--{changed[0].replace('_', '-')} does not work with --use-backend; omit one of them")


def _check_server(backend: _Backend, run: SceneRun) -> Any:  # Any: JSON
    """Return the answer of `/v1/models`."""
    status = backend.ask("GET", "/status")
    if not isinstance(status, dict) or "da3_version" not in status:
        raise UnsupportedError(f"{run.backend.backend_url}: not the da3 backend of this package, whose options differ")
    model, wanted = backend.ask("GET", "/v1/models"), run.model.model_dir
    if wanted not in (ModelFlags().model_dir, model["model"]):
        raise UnsupportedError(
            f"--model-dir {wanted}: the server at {run.backend.backend_url} computes with {model['model']}; omit "
            "--model-dir, or start a server with that model"
        )
    stderr.print(f"{model['model']} at {run.backend.backend_url}", markup=False)
    return model


def _options(run: SceneRun, options: ViewOptions) -> dict[str, Any]:
    network = options.network
    return {
        **{name: _plain(getattr(options.preprocess, name)) for name in _PREPROCESS},
        **{name: getattr(run.writers, name) for name in _WRITERS},
        "export_feat_layers": list(network.export_feat_layers),
        "infer_gs": network.infer_gs,
        "use_ray_pose": network.use_ray_pose,
        "ref_view_strategy": network.ref_view_strategy.value,
    }


def _plain(value: Any) -> Any:  # Any: an option
    return getattr(value, "value", value)


def _wait(backend: _Backend, task_id: str, count: int) -> Any:  # Any: JSON
    """Show the state of a task until it has ended."""
    lost, interval = 0, _MIN_INTERVAL
    with stderr.status(f"waiting for the server: {count} view(s)") as status:
        try:
            while True:
                try:
                    task, lost = backend.ask("GET", f"/task/{task_id}"), 0
                except _NoAnswerError:
                    lost += 1
                    if lost >= _MAX_LOST:
                        raise
                else:
                    if task["status"] in ("completed", "failed"):
                        return task
                    status.update(escape_message(f"the scene {task['message']} at the server: {count} view(s)"))
                time.sleep(interval)
                interval = min(1.3 * interval, _MAX_INTERVAL)
        except KeyboardInterrupt:
            with suppress(DA3Error):
                backend.ask("DELETE", f"/task/{task_id}")
            raise


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["detail"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"status {error.code}"
