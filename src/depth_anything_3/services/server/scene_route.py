"""`POST /v1/scenes` and `/v1/jobs`: views of one scene, computed as a job."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import FileResponse
from starlette.requests import ClientDisconnect

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export.checks import check_formats
from depth_anything_3.export.fields import AvailableFields
from depth_anything_3.inference.views import GivenCameras, ViewOptions, infer_views
from depth_anything_3.inputs.image_source import ImageSource
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.services.server.jobs import Job, JobStatus
from depth_anything_3.services.server.openapi import example_of, job_problems, problems
from depth_anything_3.services.server.problems import Problem
from depth_anything_3.services.server.scene_options import SceneOptions
from depth_anything_3.services.server.server import Server
from depth_anything_3.services.server.upload_plan import plan_upload
from depth_anything_3.services.server.uploads import Hold, Upload, uploaded_views

__all__ = ["scene_router"]

_EXAMPLE_ID = "dGhpcyBpcyBhbiBpZA"
_CLIENT_GONE = 499  # nobody reads it; nginx logs this number
_MEDIA_TYPES = {
    ".glb": "model/gltf-binary",
    ".npz": "application/x-npz",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".tiff": "image/tiff",
    ".exr": "image/x-exr",
}
_JobId = Annotated[str, Path(description="From the answer of `POST /v1/scenes`.", max_length=60)]


def scene_router(server: Server) -> APIRouter:
    """Make the routes."""
    router = APIRouter()

    @router.post(
        "/v1/scenes",
        summary="Depth, cameras and points of the views of one scene, as a job",
        status_code=202,
        responses={
            202: example_of(
                "Accepted; ask `status_url`.", {"id": _EXAMPLE_ID, "status_url": f"/v1/jobs/{_EXAMPLE_ID}"}
            ),
            **problems(400, 401, 403, 408, 413, 415, 422, 429, 503),
        },
        openapi_extra={"requestBody": {"required": True, "content": _body()}},
    )
    async def scenes(request: Request) -> Response:
        return await _accept(server, request)

    @router.get(
        "/v1/jobs/{id}",
        summary="State and results of a job",
        responses={200: example_of("The job.", _example(server)), **job_problems()},
    )
    def job(id: _JobId) -> dict[str, object]:
        return _described(server, server.jobs.find(id))

    @router.delete(
        "/v1/jobs/{id}",
        summary="Cancel a job, or delete its results",
        status_code=204,
        responses=job_problems(),
    )
    def delete(id: _JobId) -> None:
        server.jobs.delete(server.jobs.find(id))

    @router.get(
        "/v1/jobs/{id}/results/{name:path}",
        summary="A result of a job",
        response_class=FileResponse,
        responses=job_problems(),
    )
    def result(id: _JobId, name: str) -> FileResponse:
        file = server.jobs.find(id).file(name)
        if file is None:
            raise Problem(404, "no-result", f"the job has no result {name[:100]!r}; GET /v1/jobs/ID lists them")
        media_type = _MEDIA_TYPES.get(file.suffix, "application/octet-stream")
        return FileResponse(file, media_type=media_type, filename=file.name)

    return router


async def _accept(server: Server, request: Request) -> Response:
    server.check_ready()
    card = server.engine.card
    if not card.has_poses:
        detail = f"{card.name} predicts no cameras, so it computes no scenes; send each image to POST /v1/depth"
        raise Problem(422, "no-cameras", detail, "UnsupportedError")
    server.jobs.check()
    hold = Hold(server.admission)
    try:
        uploads, text = await uploaded_views(request, server.settings, hold)
        job = await server.in_worker(partial(_planned, server, uploads, SceneOptions.parse(text)))
        job.release = hold.release
        server.jobs.add(job)
    except ClientDisconnect:
        hold.release()
        return Response(status_code=_CLIENT_GONE)
    except BaseException:
        hold.release()
        raise
    place = f"/v1/jobs/{job.id}"
    content = json.dumps({"id": job.id, "status_url": place})
    return Response(content, 202, {"Location": place}, media_type="application/json")


def _planned(server: Server, uploads: Sequence[Upload], options: SceneOptions) -> Job:
    """Check the images by their headers, and make the job.

    Raises:
        Problem: 413, 415 or 422.
        InvalidInputError: a size is above the limits, or the formats need what the model does not predict.
    """
    settings, views = server.settings, options.views()
    preprocess = replace(server.engine.resolved(views.preprocess), executor=settings.executor)
    planned = [plan_upload(one, settings, preprocess) for one in uploads]
    # Views of other sizes are cropped or padded to a common one, which is no larger than this.
    height, width = (max(one.network_hw[axis] for one in planned) for axis in (0, 1))
    if (size := len(planned) * height * width) > settings.max_scene_pixels:
        raise InvalidInputError(
            f"process_res={preprocess.process_res}: {len(planned)} views of {width}x{height} pixels for the network "
            f"are {size:,} pixels, and this server computes at most {settings.max_scene_pixels:,}; ask for a smaller "
            "process_res or fewer views"
        )
    _check_formats(server, options, preprocess, len(planned))
    sources = [ImageSource(one.name, one.data) for one in uploads]
    work = partial(_compute, server, sources, replace(views, preprocess=preprocess), options)
    return Job(work, sum(one.pixels for one in planned))


def _check_formats(server: Server, options: SceneOptions, preprocess: PreprocessOptions, views: int) -> None:
    available = AvailableFields.expected(server.engine.card, views=views, cropped=preprocess.process_res_method.crops)
    try:
        check_formats(list(options.formats), available, options.export())
        server.engine.check(options.views().network)
    except UnsupportedError as error:
        raise InvalidInputError(str(error)) from error


def _compute(
    server: Server, sources: Sequence[ImageSource], views: ViewOptions, options: SceneOptions, job: Job
) -> None:
    """Compute a scene and write its results, as `da3 auto` does."""
    work = partial(infer_views, server.engine, sources, views, GivenCameras())  # type: ignore[arg-type]  # as images
    prediction = server.scheduler.exclusive(work).result()
    server.metrics.predicted(prediction)
    folder, export_options = server.jobs.make_folder(job), options.export()
    for one in check_formats(list(options.formats), AvailableFields.of(prediction), export_options):
        paths = one.write(prediction, folder, None, export_options.of(one))
        key = "depth" if one.name == "depth_png" else one.name
        job.results[key] = [path.relative_to(folder).as_posix() for path in paths]


def _described(server: Server, job: Job) -> dict[str, object]:
    place = f"/v1/jobs/{job.id}"
    links = {key: [f"{place}/results/{name}" for name in names] for key, names in job.results.items()}
    # Formats that write one file for all views are a link, others a list.
    shown = {key: urls if key in _LISTS else urls[0] for key, urls in links.items()} if job.status == "done" else {}
    return {
        "id": job.id,
        "status": job.status.value,
        "error": None if job.error is None else json.loads(job.error.body()),
        "created": job.created,
        "began": job.began,
        "ended": job.ended,
        "bytes": job.bytes,
        "keep_seconds": server.settings.job_lifetime,
        "results": shown,
    }


_LISTS = ("depth", "depth_vis", "depth_color", "tiff", "exr", "colmap")


def _body() -> dict[str, object]:
    """Describe the form for OpenAPI."""
    files = {"type": "array", "items": {"type": "string", "format": "binary"}, "description": "The views, in order."}
    options = {"type": "string", "description": "JSON object; see docs/serve.md.", "example": '{"process_res": 504}'}
    form = {"type": "object", "properties": {"images": files, "options": options}, "required": ["images"]}
    return {"multipart/form-data": {"schema": form}}


def _example(server: Server) -> dict[str, object]:
    """Describe a job that is done, for OpenAPI."""
    results = {"glb": ["scene.glb"], "depth": ["depth_png/0000.png", "depth_png/0001.png"]}
    done = Job(lambda job: None, 0, id=_EXAMPLE_ID, status=JobStatus.DONE, results=results, bytes=1_204_812)
    done.created, done.began, done.ended = 1.8e9, 1.8e9 + 0.1, 1.8e9 + 2.4
    return _described(server, done)
