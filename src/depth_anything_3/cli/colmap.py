"""`da3 colmap` and `da3 export`: scenes that others, or earlier runs, have left on disk."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from depth_anything_3.cli import options as o
from depth_anything_3.cli.console import finish, load_model, stderr, stdout
from depth_anything_3.errors import InvalidInputError
from depth_anything_3.inputs.limits import MAX_BYTES, MAX_PIXELS, Reading

__all__ = ["colmap", "export"]

logger = logging.getLogger(__name__)

_NAMED = 5  # images that a warning names


def colmap(
    folder: Annotated[Path, typer.Argument(help="Workspace with images and a sparse model.", metavar="DIR")],
    sparse_subdir: Annotated[
        str, typer.Option(help="Folder of the sparse model within DIR/sparse or DIR; empty: sparse/0, sparse, or DIR.")
    ] = "",
    images_subdir: Annotated[str, typer.Option(help="Folder of the images within DIR.")] = "images",
    model_dir: o.ModelDir = "depth-anything/DA3-BASE",
    export_dir: o.ExportDir = Path("debug"),
    export_format: o.ExportFormat = "glb-npz",
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    align_to_input_ext_scale: Annotated[
        bool, typer.Option(help="Depth in the unit of the given cameras, which are returned; else as predicted.")
    ] = True,
    process_res: o.ProcessRes = 504,
    process_res_method: o.Method = "upper_bound_resize",
    mixed_sizes: o.MixedSizes = "crop",
    use_ray_pose: o.RayPose = False,
    infer_gs: o.InferGs = False,
    export_feat: o.ExportFeat = "",
    conf_thresh_percentile: o.ConfThresh = 40.0,
    num_max_points: o.MaxPoints = 1_000_000,
    show_cameras: o.ShowCameras = True,
    feat_vis_fps: o.FeatVisFps = 15,
    num_workers: o.Workers = 8,
    image_extensions: o.Extensions = o.EXTENSIONS,
    strategy: o.Strategy = "auto",
    fidelity: o.Fidelity = "exact",
    max_pixels: o.MaxPixels = MAX_PIXELS,
    max_bytes: o.MaxBytes = MAX_BYTES,
    allow_truncated: o.AllowTruncated = False,
    compiled: o.Compile = False,
    as_json: o.Json = False,
    auto_cleanup: o.AutoCleanup = False,
) -> None:
    """Write depth of the images of a COLMAP workspace, conditioned on the cameras of its sparse model."""
    from depth_anything_3.api import choose_device
    from depth_anything_3.export.colmap import find_sparse_model, given_cameras, pair_images, read_sparse_model
    from depth_anything_3.export.registry import FORMATS, parse_formats
    from depth_anything_3.inputs.discover import find_images
    from depth_anything_3.jobs.images import check_options, run_scene

    formats = parse_formats(export_format)
    pipeline: dict[str, Any] = {
        "process_res": process_res,
        "process_res_method": process_res_method,
        "num_workers": num_workers,
        "strategy": strategy,
        "fidelity": fidelity,
        "max_pixels": max_pixels,
        "max_bytes": max_bytes,
        "allow_truncated": allow_truncated,
    }
    check_options(choose_device(device), **pipeline)
    pipeline |= o.scene_options(mixed_sizes)
    feature_layers = o.layers(export_feat)
    model_folder = find_sparse_model(folder, sparse_subdir or None)
    images = folder / images_subdir
    if not images.is_dir():
        if images_subdir != "images":
            raise InvalidInputError(f"{images}: no such folder of images")
        images = folder
    results = [export_dir / one.name for one in FORMATS]  # which may lie inside the workspace
    paths = find_images([str(images)], image_extensions, recursive=True, leave_out=results)
    pairing = pair_images(read_sparse_model(model_folder), paths, images)
    for kind, left in (("images without a pose", pairing.without_pose), ("poses without image", pairing.without_image)):
        if left:
            named = ", ".join(str(one) for one in left[:_NAMED]) + (", ..." if len(left) > _NAMED else "")
            logger.warning("%d %s are left out: %s", len(left), kind, named)
    exif, intrinsics = given_cameras(pairing, Reading(max_pixels, max_bytes, allow_truncated))
    options = o.export_options(conf_thresh_percentile, num_max_points, show_cameras, feat_vis_fps)
    model = load_model(model_dir, device, dtype, compiled=compiled)
    with stderr.status(f"depth of {len(pairing.paths)} view(s)"):
        report = run_scene(
            model,
            pairing.paths,
            export_dir,
            formats,
            export_options=options,
            extrinsics=pairing.extrinsics,
            intrinsics=intrinsics,
            align_to_input_ext_scale=align_to_input_ext_scale,
            exif=exif,
            use_ray_pose=use_ray_pose,
            infer_gs=infer_gs,
            export_feat_layers=feature_layers,
            **pipeline,
        )
    finish(report, as_json)


def export(
    sources: Annotated[list[Path], typer.Argument(help="results.npz or NAME.npz of earlier runs.", metavar="NPZ")],
    export_dir: o.ExportDir = Path("debug"),
    export_format: o.ReExportFormat = "depth_vis",
    conf_thresh_percentile: o.ConfThresh = 40.0,
    num_max_points: o.MaxPoints = 1_000_000,
    show_cameras: o.ShowCameras = True,
) -> None:
    """Write results in other formats, without the network: npz keeps what depth_vis, ply, glb and others need."""
    from depth_anything_3.export import export as write
    from depth_anything_3.export import load_prediction, parse_formats
    from depth_anything_3.jobs.images import export_names

    formats = parse_formats(export_format)
    options = o.export_options(conf_thresh_percentile, num_max_points, show_cameras, 15)
    scene = len(sources) == 1 and sources[0].name == "results.npz"
    names = [None] if scene else export_names(sources)
    for source, name in zip(sources, names, strict=True):
        try:
            files = write(load_prediction(source), export_dir, formats, name, options)
        except InvalidInputError as error:
            text = str(error)
            raise type(error)(text if str(source) in text else f"{source}: {text}") from error
        for file in files:
            stdout.print(str(file), markup=False)
