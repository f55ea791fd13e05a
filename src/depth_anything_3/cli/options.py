"""Define the flags that several commands share, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from depth_anything_3.cli.completion import complete_choices, complete_formats, complete_models
from depth_anything_3.cli.network_flags import BackendFlags, MetricFlags, NetworkFlags
from depth_anything_3.export.format_options import Colormap
from depth_anything_3.export.registry import FORMATS
from depth_anything_3.inference.output_options import OutputOptions
from depth_anything_3.inputs.discover import IMAGE_EXTENSIONS
from depth_anything_3.inputs.options import PreprocessOptions

if TYPE_CHECKING:
    from depth_anything_3.export import ExportOptions
    from depth_anything_3.inference.options import BatchOptions, StreamOptions
    from depth_anything_3.jobs.destination import Destination

__all__ = [
    "AutoCleanup",
    "BackendFlags",
    "BatchFlags",
    "ColormapName",
    "Device",
    "ExportDir",
    "FindFlags",
    "Index",
    "Json",
    "MetricFlags",
    "ModelFlags",
    "NetworkFlags",
    "OutputOptions",
    "Overwrite",
    "PreprocessOptions",
    "ResultFlags",
    "Resume",
    "Scene",
    "WriterFlags",
    "stream_options",
]

_DEVICES = "auto|cpu|cuda|cuda:1|mps"
_BACKENDS = "torch|openvino|onnxruntime|auto"

Device = Annotated[
    str,
    typer.Option(
        help="Device that runs the network.",
        metavar=_DEVICES,
        autocompletion=complete_choices(_DEVICES),
        rich_help_panel="Model",
    ),
]
ExportDir = Annotated[
    Path,
    typer.Option(
        "--export-dir", "-o", help="Output folder; created if missing.", metavar="DIR", rich_help_panel="Output"
    ),
]
Scene = Annotated[
    bool,
    typer.Option(
        "--scene",
        help="Treat the images as views of one scene, which attend to each other.",
        rich_help_panel="Views and 3D",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        "--skip-existing",
        help="Continue a stopped run: skip what the folder's manifest lists as computed from the same unchanged files "
        "with the same settings. A result is never trusted for its name alone.",
        rich_help_panel="Output",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        "-y",
        help="Compute everything and replace existing results, without a warning; with --resume: only those computed "
        "with other settings.",
        rich_help_panel="Output",
    ),
]
Index = Annotated[
    bool,
    typer.Option(
        "--index",
        help="Also write index.html to the output folder: a page with thumbnails of all results there, for a browser.",
        rich_help_panel="Output",
    ),
]
_COLORMAPS = "|".join(one.value for one in Colormap)
ColormapName = Annotated[
    str,
    typer.Option(
        help="Colours of depth; near is red or bright.",
        metavar=_COLORMAPS,
        autocompletion=complete_choices(_COLORMAPS),
        rich_help_panel="Output",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel="Output")]
AutoCleanup = Annotated[
    bool,
    typer.Option(
        "--auto-cleanup/--no-auto-cleanup",
        help="First remove the results of earlier runs from the output folder; other files stay.",
        rich_help_panel="Output",
    ),
]


@dataclass(frozen=True)
class ModelFlags:
    """Choice of the checkpoint, its device and precision."""

    panel: ClassVar[str] = "Model"

    model_dir: Annotated[
        str,
        typer.Option(
            "--model-dir",
            "-m",
            help="Model: a hub id or preset (see da3 models), da3-nano (bundled), a folder with config.json and "
            "model.safetensors, or an exported file (.onnx, .xml, .pt2).",
            metavar="MODEL",
            autocompletion=complete_models,
        ),
    ] = "depth-anything/DA3-BASE"
    device: Device = "auto"
    dtype: Annotated[
        str,
        typer.Option(
            help="Data type in which the backbone computes.",
            metavar="auto|float32|bfloat16|float16",
            rich_help_panel="Performance",
        ),
    ] = "auto"
    backend: Annotated[
        str,
        typer.Option(
            help="What computes the network. openvino and onnxruntime compute on the CPU and convert the model once; "
            "auto is openvino on a CPU where it is installed and gives torch's results.",
            metavar=_BACKENDS,
            autocompletion=complete_choices(_BACKENDS),
            rich_help_panel="Performance",
        ),
    ] = "torch"
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the network with torch.compile; takes a minute or more at the start.",
            rich_help_panel="Performance",
        ),
    ] = False


@dataclass(frozen=True)
class FindFlags:
    """Choice of files in folders and patterns."""

    panel: ClassVar[str] = "Input"

    recursive: Annotated[bool, typer.Option("--recursive", help="Recurse into subfolders.")] = False
    image_extensions: Annotated[
        str,
        typer.Option(
            help=f"File extensions to take from folders and patterns (default: {IMAGE_EXTENSIONS.replace(',', ', ')}).",
            metavar="LIST",
            show_default=False,
        ),
    ] = IMAGE_EXTENSIONS


@dataclass(frozen=True)
class BatchFlags:
    """Batch size, or limits for choosing it."""

    panel: ClassVar[str] = "Performance"

    batch_size: Annotated[
        str,
        typer.Option(
            help="Images per batch: a number, all, or auto (fits GPU memory; fastest of 1 to 8 on a CPU).",
            metavar="N|all|auto",
        ),
    ] = "auto"
    max_batch_size: Annotated[int, typer.Option(help="Maximum batch size (with --batch-size auto).")] = 64
    target_memory_utilization: Annotated[
        float, typer.Option(help="Fraction of free memory to fill (with --batch-size auto).")
    ] = 0.85

    def options(self, count: int = 1) -> BatchOptions:
        """Parse the options for `count` images.

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
class WriterFlags:
    """Options of the writers."""

    panel: ClassVar[str] = "Output"

    conf_thresh_percentile: Annotated[
        float,
        typer.Option(
            help="Drop points below this percentile of confidence (ply, glb, colmap).", rich_help_panel="Views and 3D"
        ),
    ] = 40.0
    num_max_points: Annotated[
        int, typer.Option(help="Maximum number of points (ply, glb, colmap).", rich_help_panel="Views and 3D")
    ] = 1_000_000
    show_cameras: Annotated[bool, typer.Option(help="Draw the cameras (glb).", rich_help_panel="Views and 3D")] = True
    feat_vis_fps: Annotated[int, typer.Option(help="Frames per second of the video (feat_vis).")] = 15
    colormap: Annotated[
        str,
        typer.Option(
            help="Colours of depth; near is red or bright (depth_vis, depth_color, mp4 of a video).",
            metavar=_COLORMAPS,
            autocompletion=complete_choices(_COLORMAPS),
        ),
    ] = Colormap.SPECTRAL.value
    depth_range: Annotated[
        str,
        typer.Option(
            help="Nearest and farthest depth that the colours cover, in the unit of the depth, such as 0.5:20 "
            "(depth_vis, depth_color, mp4 of a video). Default: the range of each image, or of the video.",
            metavar="NEAR:FAR",
        ),
    ] = ""
    shared_range: Annotated[
        bool,
        typer.Option(
            "--shared-range",
            help="One range of the colours for all images of the run, so that they can be compared (depth_vis, "
            "depth_color). They are written at the end.",
        ),
    ] = False
    depth_scale: Annotated[
        float | None,
        typer.Option(
            help="Values per unit of depth, such as 1000 for millimetres (depth_png). Default: each file has a scale "
            "of its own. Needs metric depth."
        ),
    ] = None
    force_depth_scale: Annotated[
        bool, typer.Option("--force-depth-scale", help="Accept --depth-scale for depth that is not metric (depth_png).")
    ] = False

    def options(self) -> ExportOptions:
        """Parse the options.

        Raises:
            InvalidInputError: a value is not accepted.
        """
        from depth_anything_3.export import ExportOptions

        return ExportOptions(
            self.conf_thresh_percentile,
            self.num_max_points,
            self.show_cameras,
            self.feat_vis_fps,
            colormap=self.colormap,
            depth_range=self.depth_range or None,
            shared_range=self.shared_range,
            depth_scale=self.depth_scale,
            force_depth_scale=self.force_depth_scale,
        )


@dataclass(frozen=True)
class ResultFlags:
    """Output folder and formats."""

    panel: ClassVar[str] = "Output"

    export_dir: ExportDir = Path("debug")
    export_format: Annotated[
        str,
        typer.Option(
            "--export-format",
            "-f",
            metavar="FORMATS",
            autocompletion=complete_formats(one.name for one in FORMATS),
            # "\b" keeps the line breaks of its paragraph.
            help="\n".join(
                (
                    "\b",
                    "Output formats:",
                    *(f"{one.name}: {one.help}" for one in FORMATS),
                    "",
                    "Join several with '-', as in npz-glb.",
                )
            ),
        ),
    ] = "depth_vis-npz"

    def destination(self, writers: WriterFlags, metric: MetricFlags) -> Destination:
        """Parse the destination.

        Raises:
            InvalidInputError: a format or an option is not accepted.
            ExportError: the folder is a file.
        """
        from depth_anything_3.export.checks import check_export_dir
        from depth_anything_3.jobs.destination import Destination

        check_export_dir(self.export_dir)
        return Destination(
            folder=self.export_dir,
            formats=self.export_format,
            options=writers.options(),
            metric=metric.conversion(),
        )


def stream_options(
    preprocess: PreprocessOptions, network: NetworkFlags, batches: BatchFlags, output: OutputOptions
) -> StreamOptions:
    """Parse the options of a stream whose number of images is not known yet.

    Raises:
        InvalidInputError: a value is not accepted.
    """
    from depth_anything_3.inference.options import StreamOptions

    return StreamOptions(preprocess=preprocess, network=network.options(), batching=batches.options(), output=output)
