"""What the commands of `da3` take, named and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.fields import ARCHIVE_FIELDS
from depth_anything_3.export.registry import FORMATS, format_names, formats_for

if TYPE_CHECKING:
    from depth_anything_3.export import ExportOptions
    from depth_anything_3.prediction.metric import Metres

EXTENSIONS = "png,jpg,jpeg,webp,bmp,tif,tiff,avif,heic,heif"
"""Which files of a folder are pictures, unless told otherwise."""

ModelDir = Annotated[str, typer.Option(help="Hub id, or folder with config.json and model.safetensors.")]
ExportDir = Annotated[Path, typer.Option(help="Folder for the results; made if missing.")]
ReExportFormat = Annotated[
    str, typer.Option(help=f"Names joined with '-': {format_names(formats_for(ARCHIVE_FIELDS))}.")
]
ExportFormat = Annotated[
    str,
    typer.Option(
        help="\n".join(
            ("\b", "Formats:", *(f"{one.name}: {one.help}" for one in FORMATS), "", "Join several with '-'.")
        )
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[str, typer.Option(help="What the backbone computes in: auto, float32, bfloat16, float16.")]
Scene = Annotated[bool, typer.Option("--scene", help="The images are views of ONE scene and see each other.")]
ProcessRes = Annotated[int, typer.Option(help="Length in pixels of the bounded side.")]
Method = Annotated[
    str, typer.Option(help="upper_bound_resize, upper_bound_crop, lower_bound_resize, lower_bound_crop.")
]
RayPose = Annotated[
    bool, typer.Option("--use-ray-pose", help="Cameras from the ray map, not the camera decoder; slower.")
]
RefView = Annotated[str, typer.Option(help="With --scene: saddle_balanced, saddle_sim_range, first, middle.")]
BatchSize = Annotated[
    str,
    typer.Option(help="Most images of one size computed together: a number, all, or auto (what GPU memory holds)."),
]
MaxBatchSize = Annotated[int, typer.Option(help="Most that --batch-size auto takes.")]
MemoryShare = Annotated[float, typer.Option(help="Share of the free memory that --batch-size auto fills.")]
Workers = Annotated[int, typer.Option(help="Images decoded and resampled at a time.")]
OnError = Annotated[str, typer.Option(help="skip: go on without an image that cannot be read; raise: stop.")]
MaxPixels = Annotated[int, typer.Option(help="Refuse pictures whose header claims more.")]
MaxBytes = Annotated[int, typer.Option(help="Refuse larger files, unread.")]
AllowTruncated = Annotated[
    bool, typer.Option("--allow-truncated", help="Decode cut or damaged files as far as they go, with a warning.")
]
Extensions = Annotated[str, typer.Option(help="Which files of a folder or pattern are taken.")]
Recursive = Annotated[bool, typer.Option("--recursive", help="Of folders, also the images in folders below.")]
Exif = Annotated[
    str, typer.Option(help="apply: turn pictures upright; ignore: leave them as stored, as upstream does.")
]
Strategy = Annotated[
    str, typer.Option(help="Way to the network's memory: auto, gpu_decode, hybrid, full_gpu, cpu; see da3 doctor.")
]
Fidelity = Annotated[str, typer.Option(help="How exact pixels must be: exact, high, fast.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Skip images whose results are there: go on with a run that was stopped.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
AutoCleanup = Annotated[bool, typer.Option("--auto-cleanup", hidden=True)]
MixedSizes = Annotated[
    str, typer.Option(help="Views of ONE scene that differ in size: crop to the smallest, pad to the largest, refuse.")
]
InferGs = Annotated[
    bool,
    typer.Option("--infer-gs", help="Predict 3D Gaussians too, for gs_ply and gs_video; DA3-GIANT or nested."),
]
ExportFeat = Annotated[str, typer.Option(help="Backbone layers to keep features of, such as 5,11; for feat_vis.")]
ConfThresh = Annotated[
    float, typer.Option(help="Of ply, glb, colmap: points below this percentile of confidence are left out.")
]
MaxPoints = Annotated[int, typer.Option(help="Of ply, glb, colmap: most points.")]
ShowCameras = Annotated[bool, typer.Option(help="Of glb: draw the cameras.")]
FeatVisFps = Annotated[int, typer.Option(help="Of feat_vis: frames per second.")]
Metric = Annotated[
    bool,
    typer.Option(
        "--metric",
        help="Depth in metres: the metric model's by --focal, --fov or what the files' Exif says of the lens; nested "
        "models' as it is.",
    ),
]
Focal = Annotated[
    float | None, typer.Option(help="With --metric: focal length in pixels of the pictures as they are on disk.")
]
Fov = Annotated[float | None, typer.Option(help="With --metric: horizontal field of view in degrees.")]
Compile = Annotated[
    bool,
    typer.Option("--compile", help="Have torch.compile make the network faster; takes a minute or more first."),
]


def export_options(
    conf_thresh_percentile: float, num_max_points: int, show_cameras: bool, feat_vis_fps: int
) -> ExportOptions:
    """How results are written, checked."""
    from depth_anything_3.export import ExportOptions

    return ExportOptions(conf_thresh_percentile, num_max_points, show_cameras, feat_vis_fps)


def scene_options(mixed_sizes: str, ref_view_strategy: str | None = None) -> dict[str, Any]:
    """What is for the views of one scene, checked also where there is none."""
    from depth_anything_3.inputs.batch.mixed_sizes import MixedSizes as Mixed
    from depth_anything_3.model import RefViewStrategy

    options: dict[str, Any] = {"mixed_sizes": Mixed(mixed_sizes)}
    if ref_view_strategy is not None:
        options["ref_view_strategy"] = RefViewStrategy(ref_view_strategy)
    return options


def metres(metric: bool, focal: float | None, fov: float | None) -> Metres | None:
    """What --metric, --focal and --fov ask for.

    Raises:
        InvalidInputError: a focal length without --metric, two, or one that is none.
    """
    from depth_anything_3.prediction.metric import Metres

    if not metric and (focal is not None or fov is not None):
        raise InvalidInputError("--focal and --fov turn depth into metres: give --metric with them")
    return Metres(focal, fov) if metric else None


def layers(numbers: str) -> list[int]:
    """The numbers in "5,11".

    Raises:
        InvalidInputError: it is no list of numbers.
    """
    try:
        return [int(one) for one in numbers.split(",") if one.strip()]
    except ValueError:
        raise InvalidInputError(f"--export-feat {numbers}: give numbers of layers, such as 5,11") from None
