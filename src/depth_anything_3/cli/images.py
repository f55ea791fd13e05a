"""`da3 images`, `image`, `auto`: pictures on disk in, results on disk out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import finish, load_model, progress, stderr
from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.limits import MAX_BYTES, MAX_PIXELS

__all__ = ["images"]


def images(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(help="Image files, folders, patterns in quotes ('**/*.jpg'), or @list.txt.", metavar="SOURCE"),
    ],
    model_dir: o.ModelDir = "depth-anything/DA3-BASE",
    export_dir: o.ExportDir = Path("debug"),
    export_format: o.ExportFormat = "depth_vis-npz",
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    scene: o.Scene = False,
    process_res: o.ProcessRes = 504,
    process_res_method: o.Method = "upper_bound_resize",
    use_ray_pose: o.RayPose = False,
    ref_view_strategy: o.RefView = "saddle_balanced",
    batch_size: o.BatchSize = "auto",
    max_batch_size: o.MaxBatchSize = 64,
    target_memory_utilization: o.MemoryShare = 0.85,
    num_workers: o.Workers = 8,
    on_error: o.OnError = "skip",
    recursive: o.Recursive = False,
    image_extensions: o.Extensions = o.EXTENSIONS,
    exif: o.Exif = "apply",
    strategy: o.Strategy = "auto",
    fidelity: o.Fidelity = "exact",
    max_pixels: o.MaxPixels = MAX_PIXELS,
    max_bytes: o.MaxBytes = MAX_BYTES,
    allow_truncated: o.AllowTruncated = False,
    mixed_sizes: o.MixedSizes = "crop",
    metric: o.Metric = False,
    focal: o.Focal = None,
    fov: o.Fov = None,
    infer_gs: o.InferGs = False,
    export_feat: o.ExportFeat = "",
    conf_thresh_percentile: o.ConfThresh = 40.0,
    num_max_points: o.MaxPoints = 1_000_000,
    show_cameras: o.ShowCameras = True,
    feat_vis_fps: o.FeatVisFps = 15,
    compiled: o.Compile = False,
    resume: o.Resume = False,
    as_json: o.Json = False,
    auto_cleanup: o.AutoCleanup = False,  # upstream's scripts pass it; here files are replaced whole
) -> None:
    """Write depth for images, each on its own, or with --scene for all as views of one scene."""
    from depth_anything_3.api import choose_device
    from depth_anything_3.export.registry import FORMATS, parse_formats
    from depth_anything_3.inference.batch_limit import parse_batch_size
    from depth_anything_3.inputs.discover import find_images
    from depth_anything_3.jobs.images import check_options, run_images, run_scene
    from depth_anything_3.model.catalog import DepthKind

    options: dict[str, Any] = {
        "process_res": process_res,
        "process_res_method": process_res_method,
        "num_workers": num_workers,
        "on_error": on_error,
        "exif": exif,
        "strategy": strategy,
        "fidelity": fidelity,
        "max_pixels": max_pixels,
        "max_bytes": max_bytes,
        "allow_truncated": allow_truncated,
    }
    formats = parse_formats(export_format)  # misuse is told before weights are loaded
    batches: dict[str, Any] = {
        "batch_size": parse_batch_size(batch_size, 1),
        "max_batch_size": max_batch_size,
        "target_memory_utilization": target_memory_utilization,
    }
    check_options(choose_device(device), **batches, **options)
    exports: dict[str, Any] = {
        "export_options": o.export_options(conf_thresh_percentile, num_max_points, show_cameras, feat_vis_fps),
        "metres": o.metres(metric, focal, fov),
    }
    of_a_scene = o.scene_options(mixed_sizes, ref_view_strategy)
    forward: dict[str, Any] = {"infer_gs": infer_gs, "export_feat_layers": o.layers(export_feat)}
    forward["use_ray_pose"] = use_ray_pose
    results = [export_dir / one.name for one in FORMATS]  # which may lie inside the folder of images
    paths = find_images(sources, image_extensions, recursive=recursive, leave_out=results)
    single = context.info_name == "image" or (context.info_name == "auto" and len(paths) == 1)
    if context.info_name == "image" and len(paths) != 1:
        raise InvalidInputError(f"da3 image takes one image, not {len(paths)}; for more there is da3 images")
    if resume and (scene or single):
        raise InvalidInputError("--resume is for independent images, with da3 images; a scene is computed as a whole")
    model = load_model(model_dir, device, dtype, compiled=compiled)
    if model.card.depth_kind is DepthKind.CANONICAL and not metric:
        stderr.print(f"depth of {model.model_name} is canonical, as at a focal length of 300 pixels; --metric: metres")
    options |= exports | forward
    if scene or single:
        with stderr.status(f"depth of {len(paths)} view(s)"):
            report = run_scene(model, paths, export_dir, formats, **options, **of_a_scene)
    else:
        options |= batches | {"batch_size": parse_batch_size(batch_size, len(paths))}
        report_file = export_dir / "report.json"
        with progress(len(paths)) as advance:
            report = run_images(
                model,
                paths,
                export_dir,
                formats,
                resume=resume,
                report_file=report_file,
                on_progress=advance,
                **options,
            )
    finish(report, as_json)
