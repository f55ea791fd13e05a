"""The routes of upstream's `da3 backend`: scenes of files that the server reads and writes itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export.checks import check_export_dir
from depth_anything_3.inputs.choices import OnError
from depth_anything_3.inputs.image_source import read_file
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.jobs.destination import Destination
from depth_anything_3.jobs.report import RunReport
from depth_anything_3.jobs.views import run_views
from depth_anything_3.runtime.version import __version__
from depth_anything_3.services.server.allowed_paths import confined
from depth_anything_3.services.server.jobs import Job, JobStatus
from depth_anything_3.services.server.openapi import example_of, job_problems, problems
from depth_anything_3.services.server.problems import Problem
from depth_anything_3.services.server.server import Server
from depth_anything_3.services.server.upload_plan import plan_upload
from depth_anything_3.services.server.uploads import Upload, uploaded
from depth_anything_3.services.server.upstream_request import InferenceRequest

__all__ = ["upstream_router"]

_KIND = "upstream"
_TaskId = Annotated[str, InPath(max_length=60)]
_GPU_MEMORY = {  # an example
    "total_gb": 24.0,
    "allocated_gb": 1.6,
    "reserved_gb": 3.0,
    "free_gb": 20.4,
    "utilization_percent": 15.0,
}
_STATUS = {
    JobStatus.QUEUED: ("pending", 0.0, "waits"),
    JobStatus.RUNNING: ("running", 0.5, "is computed"),
    JobStatus.DONE: ("completed", 1.0, "done"),
    JobStatus.FAILED: ("failed", 1.0, "failed"),
    JobStatus.CANCELLED: ("failed", 1.0, "cancelled"),
}


@dataclass(eq=False)
class _Task(Job):
    """A job of these routes.

    Attributes:
        request: body of the request.
        report: of the run, once it is done.
    """

    kind: str = _KIND
    request: dict[str, Any] = field(default_factory=dict)  # Any: plain JSON values
    report: dict[str, Any] | None = None


def upstream_router(server: Server) -> APIRouter:
    """Make the routes."""
    router = APIRouter(tags=["upstream"])
    _add_tasks(router, server)
    _add_information(router, server)
    return router


def _add_tasks(router: APIRouter, server: Server) -> None:
    example = _example()

    @router.post(
        "/inference",
        summary="Compute a scene of files of the server",
        responses={
            200: example_of("Accepted.", _accepted(example)),
            **problems(401, 403, 408, 413, 415, 422, 429, 503),
        },
    )
    async def inference(request: Request) -> dict[str, object]:
        server.check_ready()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Problem(415, "not-json", "send JSON, with Content-Type: application/json")
        async with uploaded(request, server.settings, server.admission) as upload:
            body = InferenceRequest.parse(upload.data)
        task = await server.in_worker(partial(_planned, server, body))
        server.jobs.add(task)
        return _accepted(task)

    @router.get(
        "/task/{id}",
        summary="State of a task",
        responses={200: example_of("The task.", _described(example)), **job_problems()},
    )
    def task(id: _TaskId) -> dict[str, object]:
        return _described(_find(server, id))

    @router.delete(
        "/task/{id}",
        summary="Forget a task; one that waits is cancelled",
        responses={200: example_of("It is forgotten.", _forgotten(example)), **job_problems()},
    )
    def delete(id: _TaskId) -> dict[str, str]:
        found = _find(server, id)
        if found.status is JobStatus.RUNNING:
            raise Problem(400, "task-runs", "the task is computed and cannot be stopped; wait until it has ended")
        if not found.status.is_end:
            server.jobs.delete(found)  # it is cancelled
        server.jobs.delete(found)
        return _forgotten(found)

    @router.get(
        "/tasks",
        summary="All tasks",
        responses={200: example_of("The tasks.", _listed([example])), **problems(401, 403)},
    )
    def tasks() -> dict[str, object]:
        return _listed([one for one in server.jobs.all(_KIND) if isinstance(one, _Task)])


def _add_information(router: APIRouter, server: Server) -> None:
    started = time.time()

    def answers(text: str, example: object) -> dict[int | str, dict[str, Any]]:  # Any: as FastAPI has it
        return {200: example_of(text, example), **problems(401, 403)}

    def described(last_used: float | None) -> dict[str, object]:
        return {
            "model_loaded": True,
            "model_dir": server.engine.card.name,
            "device": str(server.engine.device),
            "load_time": started,
            "last_used": last_used,
            "uptime": time.time() - started,
            "gpu_memory": _gpu_memory(server),
            "da3_version": __version__,
        }

    @router.get("/status", summary="The model and its device", responses=answers("The server.", described(None)))
    def status() -> dict[str, object]:
        ends = [one.ended for one in server.jobs.all(_KIND) if one.ended is not None]
        return described(max(ends, default=None))

    @router.get(
        "/gpu-memory",
        summary="Memory of the GPU; null without one",
        responses=answers("The memory.", _GPU_MEMORY),
    )
    def gpu_memory() -> dict[str, float] | None:
        return _gpu_memory(server)

    @router.post(
        "/cleanup",
        summary="Release memory that is kept for reuse",
        responses=answers("It is released.", _released(server)),
    )
    def cleanup() -> dict[str, object]:
        server.scheduler.exclusive(partial(_release, server)).result()
        return _released(server)

    @router.post(
        "/reload", summary="Not supported", status_code=501, response_class=Response, responses=problems(401, 403, 501)
    )
    def reload() -> None:
        raise Problem(501, "no-reload", "this server keeps the model that it started with; restart it")


def _find(server: Server, id: str) -> _Task:
    found = server.jobs.find(id, _KIND)
    assert isinstance(found, _Task)
    return found


def _planned(server: Server, body: InferenceRequest) -> _Task:
    """Check paths and sizes, and make the task.

    Raises:
        Problem: 403 (a path that is not allowed), 413, 415 or 422.
        InvalidInputError: a value is not accepted.
    """
    folders, settings = server.settings.allow_paths, server.settings
    paths = [confined(one, folders) for one in body.image_paths]
    if body.export_dir is None:
        raise InvalidInputError("export_dir is missing; give an absolute path inside a folder of --allow-paths")
    folder = confined(body.export_dir, folders)
    if len(paths) > settings.max_views:
        raise Problem(413, "too-many-views", f"{len(paths)} views; this server takes at most {settings.max_views}")
    views, cameras = body.views(), body.cameras()
    preprocess = replace(server.engine.resolved(views.preprocess), executor=settings.executor)
    destination = Destination(folder=folder, formats=body.export_format, options=body.export())
    try:
        destination.check(
            server.engine.card,
            preprocess,
            views.network,
            views=len(paths),
            has_intrinsics=cameras.intrinsics is not None,
        )
        server.engine.check(views.network, has_poses=cameras.extrinsics is not None)
    except UnsupportedError as error:
        raise InvalidInputError(str(error)) from error
    check_export_dir(folder)
    pixels = _pixels(server, paths, preprocess)
    options = replace(views, preprocess=preprocess)
    run = partial(run_views, server.engine, paths, destination, options, cameras)
    task = _Task(work=partial(_compute, server, run), pixels=pixels, request=body.model_dump())
    task.request["export_dir"] = str(folder)
    return task


def _pixels(server: Server, paths: Sequence[Path], preprocess: PreprocessOptions) -> int:
    """Count the pixels of the images, and check the limits.

    Raises:
        Problem: 413, 415 or 422; damaged images are no problem if they are skipped.
        InvalidInputError: the network's input is too large.
    """
    settings = server.settings
    pixels = network_pixels = 0
    for path in paths:
        if not os.path.isfile(path):  # unlike `is_file`, no error for a name that is too long
            raise Problem(422, "no-file", f"{path}: no such file", "InvalidInputError")
        try:
            planned = plan_upload(Upload(read_file(path, settings.max_body_bytes), str(path)), settings, preprocess)
        except Problem as problem:
            if problem.status == 413 or preprocess.on_error is OnError.RAISE:
                raise
            continue
        pixels += planned.pixels
        network_pixels += planned.network_hw[0] * planned.network_hw[1]
    if network_pixels > settings.max_scene_pixels:
        raise InvalidInputError(
            f"process_res={preprocess.process_res}: {len(paths)} views have {network_pixels:,} pixels for the network, "
            f"and this server computes at most {settings.max_scene_pixels:,} (--max-scene-pixels)"
        )
    return pixels


def _compute(server: Server, run: Callable[[], RunReport], task: Job) -> None:
    assert isinstance(task, _Task)
    report = server.scheduler.exclusive(run).result()
    task.report = report.as_dict()
    if not report.images:
        reasons = "; ".join(one["error"] for one in report.failures[:3])
        raise Problem(422, "no-views", f"no view could be computed: {reasons}")


def _accepted(task: _Task) -> dict[str, object]:
    return {
        "success": True,
        "message": "the task waits; ask /task/ID",
        "task_id": task.id,
        "export_dir": task.request["export_dir"],
        "export_format": task.request["export_format"],
        "processing_time": None,
    }


def _forgotten(task: _Task) -> dict[str, str]:
    return {"message": f"task {task.id} is deleted; its results stay"}


def _listed(tasks: Sequence[_Task]) -> dict[str, object]:
    listed = [_described(one) for one in tasks]
    active = [one for one in listed if one["status"] in ("pending", "running")]
    return {
        "tasks": listed,
        "active_tasks": active,
        "completed_tasks": [one for one in listed if one not in active],
        "active_count": len(active),
        "total_count": len(listed),
    }


def _example() -> _Task:
    """Return a task that waits, for OpenAPI."""
    body = InferenceRequest(image_paths=["/data/a.jpg", "/data/b.jpg"], export_dir="/data/out")
    return _Task(lambda job: None, 0, id="dGhpcyBpcyBhbiBpZA", created=1.8e9, request=body.model_dump())


def _described(task: _Task) -> dict[str, object]:
    status, progress, message = _STATUS[task.status]
    return {
        "task_id": task.id,
        "status": status,
        "message": message if task.error is None else task.error.detail,
        "progress": progress,
        "created_at": task.created,
        "started_at": task.began,
        "completed_at": task.ended,
        "export_dir": task.request["export_dir"],
        "request": task.request,
        "num_images": len(task.request["image_paths"]),
        "export_format": task.request["export_format"],
        "process_res_method": task.request["process_res_method"],
        "video_path": None,
        "report": task.report,
    }


def _released(server: Server) -> dict[str, object]:
    return {"message": "released", "gpu_memory": _gpu_memory(server)}


def _release(server: Server) -> None:
    server.engine.input_processor.release_memory()
    if server.engine.device.type == "cuda":
        torch.cuda.empty_cache()


def _gpu_memory(server: Server) -> dict[str, float] | None:
    device = server.engine.device
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    giga = 1 << 30
    return {
        "total_gb": total / giga,
        "allocated_gb": torch.cuda.memory_allocated(device) / giga,
        "reserved_gb": torch.cuda.memory_reserved(device) / giga,
        "free_gb": free / giga,
        "utilization_percent": 100 * (total - free) / total,
    }
