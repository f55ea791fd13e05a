"""The body of upstream's `POST /inference`, with the options of `da3 auto` that upstream lacks."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.format_options import Colormap
from depth_anything_3.export.options import ExportOptions
from depth_anything_3.inference.options import NetworkOptions
from depth_anything_3.inference.views import GivenCameras, ViewOptions
from depth_anything_3.inputs.choices import Exif, Fidelity, MixedSizes, OnError, ProcessResMethod
from depth_anything_3.inputs.limits import DEFAULT_PROCESS_RES
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.model.choices import RefViewStrategy

__all__ = ["InferenceRequest"]

_Matrices = list[list[list[float]]]


class InferenceRequest(BaseModel):
    """Views of one scene, as paths of the server, and where to write results.

    The fields from `use_ray_pose` on are ours. Unknown ones are refused: they would have no effect.
    """

    model_config = ConfigDict(extra="forbid")

    image_paths: list[str] = Field(min_length=1)
    export_dir: str | None = None
    export_format: str = "mini_npz-glb"
    extrinsics: _Matrices | None = None
    intrinsics: _Matrices | None = None
    process_res: int | None = DEFAULT_PROCESS_RES
    process_res_method: str = ProcessResMethod.UPPER_BOUND_RESIZE.value
    export_feat_layers: list[int] = []
    align_to_input_ext_scale: bool = True
    conf_thresh_percentile: float = 40.0
    num_max_points: int = 1_000_000
    show_cameras: bool = True
    feat_vis_fps: int = 15
    use_ray_pose: bool = False
    ref_view_strategy: str = RefViewStrategy.SADDLE_BALANCED.value
    infer_gs: bool | None = None
    exif: str = Exif.APPLY.value
    fidelity: str = Fidelity.EXACT.value
    mixed_sizes: str = MixedSizes.CROP.value
    on_error: str = OnError.RAISE.value
    colormap: str = Colormap.SPECTRAL.value

    @classmethod
    def parse(cls, data: bytes) -> InferenceRequest:
        """Parse JSON.

        Raises:
            InvalidInputError: it is not JSON, or a field is unknown or of another type.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            shown = "; ".join(
                f"{'.'.join(map(str, one['loc']))[:60]}: {one['msg'][:200]}" for one in error.errors()[:5]
            )
            raise InvalidInputError(shown) from None

    def views(self) -> ViewOptions:
        """Return the options of the preprocessing and the network.

        Raises:
            InvalidInputError: a value is not accepted.
        """
        preprocess = PreprocessOptions(
            process_res=self.process_res,
            process_res_method=ProcessResMethod(self.process_res_method),
            exif=Exif(self.exif),
            fidelity=Fidelity(self.fidelity),
            mixed_sizes=MixedSizes(self.mixed_sizes),
            on_error=OnError(self.on_error),
        )
        network = NetworkOptions(
            infer_gs="gs" in self.export_format if self.infer_gs is None else self.infer_gs,
            use_ray_pose=self.use_ray_pose,
            ref_view_strategy=RefViewStrategy(self.ref_view_strategy),
            export_feat_layers=tuple(self.export_feat_layers),
        )
        return ViewOptions(preprocess=preprocess, network=network)

    def cameras(self) -> GivenCameras:
        """Return the given cameras.

        Raises:
            InvalidInputError: a matrix has another shape, or there is not one for each image.
        """
        for name, given, size in (("extrinsics", self.extrinsics, 4), ("intrinsics", self.intrinsics, 3)):
            if given is None:
                continue
            if len(given) != len(self.image_paths):
                raise InvalidInputError(f"{name}: {len(given)} matrices for {len(self.image_paths)} images")
            if not all(len(one) == size and all(len(row) == size for row in one) for one in given):
                raise InvalidInputError(f"{name}: give matrices of {size} rows and columns")
        return GivenCameras(self.extrinsics, self.intrinsics, self.align_to_input_ext_scale)

    def export(self) -> ExportOptions:
        """Return the options of the writers.

        Raises:
            InvalidInputError: a value is not accepted.
        """
        return ExportOptions(
            self.conf_thresh_percentile,
            self.num_max_points,
            self.show_cameras,
            self.feat_vis_fps,
            colormap=self.colormap,
        )
