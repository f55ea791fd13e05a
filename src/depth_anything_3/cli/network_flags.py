"""Define the flags of the network and of what it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.model.choices import RefViewStrategy

if TYPE_CHECKING:
    from depth_anything_3.inference.options import NetworkOptions
    from depth_anything_3.prediction.metric import MetricConversion

__all__ = ["BackendFlags", "MetricFlags", "NetworkFlags"]


@dataclass(frozen=True)
class NetworkFlags:
    """Options of the network."""

    panel: ClassVar[str] = "Views and 3D"

    use_ray_pose: Annotated[
        bool,
        typer.Option(
            "--use-ray-pose/--no-use-ray-pose",
            help="Compute cameras from the ray map, not with the camera decoder; slower.",
        ),
    ] = False
    ref_view_strategy: Annotated[
        str,
        typer.Option(
            help="How to choose the reference view of a scene with three or more views.",
            metavar="|".join(one.value for one in RefViewStrategy),
        ),
    ] = RefViewStrategy.SADDLE_BALANCED.value
    infer_gs: Annotated[
        bool,
        typer.Option(
            "--infer-gs", help="Also predict 3D Gaussians (gs_ply, gs_video); needs DA3-GIANT or the nested model."
        ),
    ] = False
    export_feat: Annotated[
        str,
        typer.Option(
            help="Backbone layers whose features to export, such as 5,11 (feat_vis).",
            metavar="LAYERS",
            rich_help_panel="Output",
        ),
    ] = ""

    def options(self) -> NetworkOptions:
        """Parse the options.

        Raises:
            InvalidInputError: a value is not accepted.
        """
        from depth_anything_3.inference.options import NetworkOptions

        try:
            layers = tuple(int(one) for one in self.export_feat.split(",") if one.strip())
        except ValueError:
            raise InvalidInputError(f"--export-feat {self.export_feat}: give layer numbers, such as 5,11") from None
        return NetworkOptions(
            infer_gs=self.infer_gs,
            use_ray_pose=self.use_ray_pose,
            ref_view_strategy=RefViewStrategy(self.ref_view_strategy),
            export_feat_layers=layers,
        )


@dataclass(frozen=True)
class MetricFlags:
    """Conversion to metric depth."""

    panel: ClassVar[str] = "Metric depth"

    metric: Annotated[
        bool,
        typer.Option(
            "--metric",
            help="Write metric depth, in metres. The metric model needs a focal length: from --focal, --fov or EXIF; "
            "the nested model does not.",
        ),
    ] = False
    focal: Annotated[
        float | None,
        typer.Option(help="Focal length in pixels of the image file (with --metric).", metavar="PIXELS"),
    ] = None
    fov: Annotated[
        float | None, typer.Option(help="Horizontal field of view in degrees (with --metric).", metavar="DEGREES")
    ] = None

    def conversion(self) -> MetricConversion | None:
        """Parse the conversion; None without --metric.

        Raises:
            InvalidInputError: --focal or --fov without --metric, both, or a value that is not accepted.
        """
        from depth_anything_3.prediction.metric import MetricConversion

        if not self.metric and (self.focal is not None or self.fov is not None):
            raise InvalidInputError("--focal and --fov are for metric depth; add --metric")
        return MetricConversion(self.focal, self.fov) if self.metric else None


@dataclass(frozen=True)
class BackendFlags:
    """Upstream's choice of a server that computes."""

    panel: ClassVar[str] = "Views and 3D"

    use_backend: Annotated[
        bool,
        typer.Option(
            "--use-backend/--no-use-backend",
            help="Let a server, da3 backend, compute the scene. It reads and writes the files itself.",
        ),
    ] = False
    backend_url: Annotated[str, typer.Option(help="Address of the server (with --use-backend).", metavar="URL")] = (
        "http://localhost:8008"
    )

    def refuse(self, command: str) -> None:
        """Refuse to use a server for independent images.

        Raises:
            UnsupportedError: it was asked for.
        """
        if self.use_backend:
            raise UnsupportedError(
                f"--use-backend computes the views of one scene, as upstream does; {command} computes each image "
                "independently. Use da3 auto, or omit --use-backend"
            )
