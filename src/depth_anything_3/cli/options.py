"""The flags that several commands share, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.registry import FORMATS
from depth_anything_3.inputs.discover import IMAGE_EXTENSIONS
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.model.choices import RefViewStrategy

if TYPE_CHECKING:
    from depth_anything_3.export import ExportOptions
    from depth_anything_3.inference.options import BatchOptions, NetworkOptions, StreamOptions
    from depth_anything_3.jobs.destination import Destination
    from depth_anything_3.prediction.metric import MetricConversion

__all__ = [
    "AutoCleanup",
    "BatchFlags",
    "Device",
    "ExportDir",
    "FindFlags",
    "Json",
    "MetricFlags",
    "ModelFlags",
    "NetworkFlags",
    "PreprocessOptions",
    "ResultFlags",
    "Resume",
    "Scene",
    "WriterFlags",
    "stream_options",
]

Device = Annotated[str, typer.Option(help="Where the network runs.", metavar="auto|cpu|cuda|cuda:1|mps")]
ExportDir = Annotated[Path, typer.Option(help="Folder for the results; created if missing.")]
Scene = Annotated[bool, typer.Option("--scene", help="The images are views of ONE scene and attend to each other.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue a run that was stopped: skip images whose results exist.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
AutoCleanup = Annotated[bool, typer.Option("--auto-cleanup", hidden=True)]


@dataclass(frozen=True)
class ModelFlags:
    """Which checkpoint, where and how it computes."""

    model_dir: Annotated[str, typer.Option(help="Hub id, or folder with config.json and model.safetensors.")] = (
        "depth-anything/DA3-BASE"
    )
    device: Device = "auto"
    dtype: Annotated[
        str, typer.Option(help="What the backbone computes in.", metavar="auto|float32|bfloat16|float16")
    ] = "auto"
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the network with torch.compile; takes a minute or more first.")
    ] = False


@dataclass(frozen=True)
class FindFlags:
    """Which files are taken."""

    recursive: Annotated[bool, typer.Option("--recursive", help="Recurse into subfolders.")] = False
    image_extensions: Annotated[str, typer.Option(help="Extensions of images in folders and patterns.")] = (
        IMAGE_EXTENSIONS
    )


@dataclass(frozen=True)
class BatchFlags:
    """How many images are computed together."""

    batch_size: Annotated[
        str, typer.Option(help="Images per batch: a number, all, or auto (fit GPU memory).", metavar="N|all|auto")
    ] = "auto"
    max_batch_size: Annotated[int, typer.Option(help="Upper bound of --batch-size auto.")] = 64
    target_memory_utilization: Annotated[
        float, typer.Option(help="Share of the free memory that --batch-size auto fills.")
    ] = 0.85

    def options(self, count: int = 1) -> BatchOptions:
        """The options for `count` images.

        Raises:
            InvalidInputError: a value is not accepted.
        """
        from depth_anything_3.inference.batch_limit import parse_batch_size
        from depth_anything_3.inference.options import BatchOptions

        return BatchOptions(
            batch_size=parse_batch_size(self.batch_size, count),
            max_batch_size=self.max_batch_size,
            target_memory_utilization=self.target_memory_utilization,
        )


@dataclass(frozen=True)
class NetworkFlags:
    """What the network computes beside depth."""

    use_ray_pose: Annotated[
        bool, typer.Option("--use-ray-pose", help="Cameras from the ray map, not the camera decoder; slower.")
    ] = False
    ref_view_strategy: Annotated[
        str,
        typer.Option(
            help="Reference view of a scene; matters from three views on.",
            metavar="|".join(one.value for one in RefViewStrategy),
        ),
    ] = RefViewStrategy.SADDLE_BALANCED.value
    infer_gs: Annotated[
        bool, typer.Option("--infer-gs", help="Predict 3D Gaussians too, for gs_ply and gs_video; DA3-GIANT or nested.")
    ] = False
    export_feat: Annotated[str, typer.Option(help="Backbone layers to export, such as 5,11; for feat_vis.")] = ""

    def options(self) -> NetworkOptions:
        """The options.

        Raises:
            InvalidInputError: a value is not accepted.
        """
        from depth_anything_3.inference.options import NetworkOptions

        try:
            layers = tuple(int(one) for one in self.export_feat.split(",") if one.strip())
        except ValueError:
            raise InvalidInputError(f"--export-feat {self.export_feat}: give numbers of layers, such as 5,11") from None
        return NetworkOptions(
            infer_gs=self.infer_gs,
            use_ray_pose=self.use_ray_pose,
            ref_view_strategy=RefViewStrategy(self.ref_view_strategy),
            export_feat_layers=layers,
        )


@dataclass(frozen=True)
class MetricFlags:
    """Whether and how depth is converted to metres."""

    metric: Annotated[
        bool,
        typer.Option(
            "--metric",
            help="Write metric depth: the metric model's by --focal, --fov or the lens in the files' EXIF; the nested "
            "model's as it is.",
        ),
    ] = False
    focal: Annotated[
        float | None, typer.Option(help="With --metric: focal length in pixels of the images as they are on disk.")
    ] = None
    fov: Annotated[float | None, typer.Option(help="With --metric: horizontal field of view in degrees.")] = None

    def conversion(self) -> MetricConversion | None:
        """The conversion; None without --metric.

        Raises:
            InvalidInputError: a focal length without --metric, two, or one that is not accepted.
        """
        from depth_anything_3.prediction.metric import MetricConversion

        if not self.metric and (self.focal is not None or self.fov is not None):
            raise InvalidInputError("--focal and --fov convert to metric depth: give --metric with them")
        return MetricConversion(self.focal, self.fov) if self.metric else None


@dataclass(frozen=True)
class WriterFlags:
    """How results are written."""

    conf_thresh_percentile: Annotated[
        float, typer.Option(help="Drop points below this percentile of confidence (ply, glb, colmap).")
    ] = 40.0
    num_max_points: Annotated[int, typer.Option(help="Maximum number of points (ply, glb, colmap).")] = 1_000_000
    show_cameras: Annotated[bool, typer.Option(help="Draw cameras (glb).")] = True
    feat_vis_fps: Annotated[int, typer.Option(help="Frames per second (feat_vis).")] = 15

    def options(self) -> ExportOptions:
        """The options.

        Raises:
            InvalidInputError: a value is not accepted.
        """
        from depth_anything_3.export import ExportOptions

        return ExportOptions(self.conf_thresh_percentile, self.num_max_points, self.show_cameras, self.feat_vis_fps)


@dataclass(frozen=True)
class ResultFlags:
    """Where results go and in which formats."""

    export_dir: ExportDir = Path("debug")
    export_format: Annotated[
        str,
        typer.Option(
            # The escape keeps the lines of its paragraph as they are.
            help="\n".join(
                ("\b", "Formats:", *(f"{one.name}: {one.help}" for one in FORMATS), "", "Join several with '-'.")
            )
        ),
    ] = "depth_vis-npz"

    def destination(self, writers: WriterFlags, metric: MetricFlags) -> Destination:
        """The destination.

        Raises:
            InvalidInputError: a format or an option is not accepted.
        """
        from depth_anything_3.jobs.destination import Destination

        return Destination(
            folder=self.export_dir,
            formats=self.export_format,
            options=writers.options(),
            metric=metric.conversion(),
        )


def stream_options(preprocess: PreprocessOptions, network: NetworkFlags, batches: BatchFlags) -> StreamOptions:
    """The options of a stream, before the number of its images is known.

    Raises:
        InvalidInputError: a value is not accepted.
    """
    from depth_anything_3.inference.options import StreamOptions

    return StreamOptions(preprocess=preprocess, network=network.options(), batching=batches.options())
