"""`DepthAnything3`: images in, depth and cameras out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export import AvailableFields, ExportOptions, check_formats, export
from depth_anything_3.export.registry import Formats
from depth_anything_3.inference.batch_limit import BatchLimit
from depth_anything_3.inference.runner import NetworkRunner
from depth_anything_3.inference.video.stream import stream_video
from depth_anything_3.inputs.batch.mixed_sizes import MixedSizes
from depth_anything_3.inputs.batch.preparer import Exif
from depth_anything_3.inputs.failure import ImageFailure, OnError, log_failure, raise_failure
from depth_anything_3.inputs.limits import ReadingOptions
from depth_anything_3.inputs.plan.resize_plan import ProcessResMethod
from depth_anything_3.inputs.routing.strategy import Fidelity, Strategy
from depth_anything_3.inputs.source import ImageInput, check_several
from depth_anything_3.inputs.video import Frame, VideoInput
from depth_anything_3.model import build_network
from depth_anything_3.model.catalog import MODEL_CARDS, DepthKind, ModelCard
from depth_anything_3.model.checkpoint import find_checkpoint, load_weights, save_checkpoint
from depth_anything_3.prediction import Prediction
from depth_anything_3.prediction.pose_alignment import align_poses, normalize_extrinsics
from depth_anything_3.runtime.devices import choose_device, parse_dtype, usual_dtype
from depth_anything_3.runtime.threads import KeptThreads
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from depth_anything_3.utils.io.output_processor import OutputProcessor, blank_outside

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["DepthAnything3", "ImageFailure", "Prediction", "choose_device"]


class DepthAnything3(nn.Module):
    """Depth Anything 3, from images to `Prediction`.

    Args:
        model_name: preset of the network, with random weights; `from_pretrained` loads trained ones.

    Example:
        >>> model = DepthAnything3.from_pretrained("depth-anything/DA3-BASE")
        >>> prediction = model.inference(["left.jpg", "right.jpg"])     # two views of one scene
        >>> predictions = model.depth(["kitchen.jpg", "garden.jpg"])    # two unrelated photos
    """

    def __init__(self, model_name: str = "da3-large") -> None:
        super().__init__()
        self.model_name = model_name
        self.model = build_network(model_name)
        self.compute_dtype: torch.dtype | None = None
        self._input_processor: InputProcessor | GPUInputProcessor | None = None
        self.output_processor = OutputProcessor()
        self._threads = KeptThreads()
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def from_pretrained(
        cls,
        hub_id_or_folder: str | os.PathLike[str],
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        *,
        local_files_only: bool = False,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
    ) -> DepthAnything3:
        """Load a checkpoint from a folder or the Hugging Face hub.

        Args:
            hub_id_or_folder: for instance "depth-anything/DA3-BASE", a folder with `config.json` and
                `model.safetensors`, or "da3-nano", the demonstration that comes with the package.
            device: where to put it; None or "auto" takes CUDA, then Apple's GPU, then the CPU.
            dtype: what the backbone computes in: "float32", "bfloat16" or "float16". None: bfloat16 on CUDA devices of
                capability 8.0 and above, float16 on older ones, float32 elsewhere. Weights stay float32.
            local_files_only: take a hub checkpoint from the local cache only.
            revision, cache_dir, token: as for `huggingface_hub`.

        Raises:
            CheckpointNotFoundError: no such folder or repository, or the hub is out of reach.
            CheckpointFormatError: its files are damaged, or do not fit their preset.
            InvalidInputError: the device or dtype is not accepted.
        """
        target = choose_device(device)
        compute_dtype = parse_dtype(dtype)
        checkpoint = find_checkpoint(
            hub_id_or_folder,
            local_files_only=local_files_only,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
        )
        with torch.device("meta"):
            model = cls(checkpoint.preset)
        load_weights(model, checkpoint, target)
        model.compute_dtype = compute_dtype
        return model.requires_grad_(False).eval()

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `config.json` and `model.safetensors` in the official format; each appears whole or not at all.

        Raises:
            ExportError: the folder cannot be written.
        """
        save_checkpoint(self, self.model_name, folder)

    def compile(self, *args: Any, **kwargs: Any) -> None:  # Any: what torch.compile takes
        """Have `torch.compile` make the network faster from its next picture on; takes what that takes.

        The first picture of a size, and again the first of a second one, waits for the compiler, a minute or so.
        """
        self.model.compile(*args, **kwargs)

    @property
    def card(self) -> ModelCard:
        """What its model predicts, and its licence."""
        return MODEL_CARDS[self.model_name]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def input_processor(self) -> InputProcessor | GPUInputProcessor:
        """Brings images to where the network is: on the CPU, or by the best way to its GPU."""
        device, dtype = self.device, self._dtype()
        if device.type == "cpu":
            if not isinstance(self._input_processor, InputProcessor):
                self._input_processor = InputProcessor()
            return self._input_processor
        current = self._input_processor
        if not isinstance(current, GPUInputProcessor) or (current.device, current.dtype) != (device, dtype):
            self._input_processor = current = GPUInputProcessor(device, dtype=dtype)
        return current

    def inference(
        self,
        image: Iterable[ImageInput],
        extrinsics: Any = None,  # Any: whatever numpy makes an array of
        intrinsics: Any = None,
        align_to_input_ext_scale: bool = True,
        infer_gs: bool = False,
        use_ray_pose: bool = False,
        ref_view_strategy: str = "saddle_balanced",
        render_exts: Any = None,
        render_ixts: Any = None,
        render_hw: tuple[int, int] | None = None,
        process_res: int = 504,
        process_res_method: str = ProcessResMethod.UPPER_BOUND_RESIZE.value,
        export_dir: str | os.PathLike[str] | None = None,
        export_format: Formats = "mini_npz",
        export_feat_layers: Sequence[int] | None = None,
        conf_thresh_percentile: float = 40.0,
        num_max_points: int | None = 1_000_000,
        show_cameras: bool = True,
        feat_vis_fps: int = 15,
        export_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        num_workers: int = 8,
        on_error: OnError | str = OnError.RAISE,
        exif: Exif | str = Exif.APPLY,
        mixed_sizes: MixedSizes | str = MixedSizes.CROP,
        strategy: Strategy | str = Strategy.AUTO,
        fidelity: Fidelity | str = Fidelity.EXACT,
        **reading: Unpack[ReadingOptions],
    ) -> Prediction:
        """Depth and cameras of the views of ONE scene: every view sees all the others.

        For unrelated photos use `depth` or `stream`; a list given here is a scene, whatever it shows.

        Args:
            image: list of paths, file bytes, PIL images, uint8 HxWx3 RGB arrays or 3xHxW tensors.
            extrinsics: (N, 4, 4) world-to-camera poses (OpenCV axes) to condition on; needs `intrinsics`.
            intrinsics: (N, 3, 3) in pixels of the upright source pictures; needs `extrinsics`, but for models without
                cameras, whose depth they turn into metres (`Prediction.metric_depth`) or points.
            align_to_input_ext_scale: with given poses: True returns them, with depth in their unit; False returns
                them moved into the predicted frame, with depth as predicted.
            infer_gs: predict 3D Gaussians too, with da3-giant and the nested model.
            use_ray_pose: cameras from the ray map in place of the camera decoder; slower.
            ref_view_strategy: "saddle_balanced", "saddle_sim_range", "first" or "middle"; matters from three views on.
            render_exts, render_ixts, render_hw: cameras of the video of Gaussians, see `export.ExportOptions`.
            process_res: length in pixels of the bounded side.
            process_res_method: "upper_bound_resize", "upper_bound_crop", "lower_bound_resize", "lower_bound_crop".
            export_dir: folder to write results to; None writes nothing.
            export_format: names joined with '-', or a sequence of names; see docs/exports.md.
            export_feat_layers: backbone layers to return in `Prediction.aux`.
            conf_thresh_percentile, num_max_points, show_cameras, feat_vis_fps, export_kwargs: how results are written,
                see `export.ExportOptions`.
            num_workers: images prepared at a time.
            on_error: "raise", or "skip" views that cannot be read; they are listed in `Prediction.failures`.
            exif: "apply" turns pictures upright, "ignore" leaves them as stored, as upstream does.
            mixed_sizes: "crop" views of different sizes to the smallest height and width, "pad" them to the largest
                with grey, where depth is then 0, or "refuse".
            strategy: the way from an image to the network's memory: "gpu_decode", "hybrid", "full_gpu", "cpu", or
                "auto", which takes DA3_STRATEGY from the environment, else what suits machine and image.
            fidelity: "exact": pixels within one level of 255 of upstream's; "high", "fast": faster decoders may serve.
            reading: max_pixels, max_bytes, allow_truncated; see `depth_anything_3.inputs.limits.Reading`.

        Raises:
            InvalidInputError: an argument is not accepted (see its subclasses for images). What the model or a format
                cannot do is refused before any picture is read (UnsupportedError).
            ImageReadError, ImageDecodeError: a file is missing, unreadable, truncated or damaged.
            ExportError: a result cannot be written.
        """
        if extrinsics is not None and intrinsics is None:
            raise InvalidInputError("extrinsics need intrinsics")
        if intrinsics is not None and extrinsics is None and self.card.has_poses:
            raise InvalidInputError(f"intrinsics need extrinsics with {self.model_name}, which predicts cameras")
        forward: dict[str, Any] = {"export_feat_layers": tuple(export_feat_layers or ()), "infer_gs": infer_gs}
        forward["ref_view_strategy"] = ref_view_strategy
        self.model.check_options(has_poses=extrinsics is not None, **forward)
        options = ExportOptions(
            conf_thresh_percentile=conf_thresh_percentile,
            num_max_points=num_max_points,
            show_cameras=show_cameras,
            feat_vis_fps=feat_vis_fps,
            render_exts=render_exts,
            render_ixts=render_ixts,
            render_hw=render_hw,
            export_kwargs=export_kwargs or {},
        )
        check_several(image)
        inputs = list(image)
        if export_dir is not None:
            available = AvailableFields.expected(
                self.card,
                views=len(inputs),
                intrinsics=intrinsics is not None,
                gaussians=infer_gs,
                features=bool(export_feat_layers),
                paths=all(isinstance(one, (str, os.PathLike)) for one in inputs),
                cropped=ProcessResMethod(process_res_method).crops,
            )
            formats = check_formats(export_format, available, options)
        batch = self.input_processor(
            inputs,
            extrinsics,
            intrinsics,
            process_res,
            process_res_method,
            num_workers=num_workers,
            on_error=on_error,
            exif=exif,
            mixed_sizes=mixed_sizes,
            strategy=strategy,
            fidelity=fidelity,
            **reading,
        )
        given = None if extrinsics is None else _in_float64(extrinsics)[[one.index for one in batch.images]]
        prediction = self._runner().scene(
            batch,
            extrinsics=None if given is None else torch.from_numpy(normalize_extrinsics(given))[None],
            intrinsics=None if given is None or batch.intrinsics is None else batch.intrinsics[None],
            use_ray_pose=use_ray_pose,
            **forward,
        )
        prediction.failures = batch.failures
        blank_outside(prediction, batch.windows)
        if batch.intrinsics is not None:
            prediction.intrinsics = batch.intrinsics.numpy()
        if given is not None and prediction.extrinsics is not None:
            prediction.extrinsics, divisor = align_poses(
                given, prediction.extrinsics, to_given=align_to_input_ext_scale
            )
            prediction.depth /= np.float32(divisor)
            if align_to_input_ext_scale:  # whatever the unit of the given poses is
                prediction.is_metric, prediction.depth_kind = 0, DepthKind.RELATIVE
        if export_dir is not None:
            export(prediction, Path(export_dir), formats, options=options)
        return prediction

    def depth(self, images: Iterable[ImageInput], **options: Any) -> list[Prediction]:  # Any: as for `stream`
        """Depth of independent photos, as a list; takes the options of `stream`.

        Unlike `inference`, no photo sees another: the result for one does not depend on the others.
        """
        return list(self.stream(images, **options))

    def stream(
        self,
        images: Iterable[ImageInput],
        *,
        batch_size: int | str = 1,
        process_res: int = 504,
        process_res_method: str = ProcessResMethod.UPPER_BOUND_RESIZE.value,
        infer_gs: bool = False,
        use_ray_pose: bool = False,
        export_feat_layers: Sequence[int] | None = None,
        num_workers: int = 8,
        on_error: OnError | str = OnError.RAISE,
        on_failure: Callable[[ImageFailure], None] | None = None,
        exif: Exif | str = Exif.APPLY,
        strategy: Strategy | str = Strategy.AUTO,
        fidelity: Fidelity | str = Fidelity.EXACT,
        max_batch_size: int = 64,
        target_memory_utilization: float = 0.85,
        **reading: Unpack[ReadingOptions],
    ) -> Iterator[Prediction]:
        """Depth of independent photos, one `Prediction` each (with N = 1), in order, as they are ready.

        Photos are decoded ahead while the network computes, and grouped by size without cropping. Memory does not
        grow with their number; a generator of paths is fine.

        Args:
            images: any iterable of what `inference` takes as one image. It is drawn from a few batches ahead, in
                another thread, so a generator must yield a new array each time and not one buffer that it fills again.
            batch_size: most photos of one size computed together, or "auto": on CUDA, what its memory holds, measured
                once for each size; elsewhere one. Where memory runs out all the same, the batch is halved.
            process_res, process_res_method, infer_gs, use_ray_pose, export_feat_layers, num_workers, exif, strategy,
                fidelity, reading: as for `inference`.
            on_error: "raise" at the first photo that cannot be used, or "skip" it.
            on_failure: called with the `ImageFailure` of each photo that was skipped; without it they are logged.
            max_batch_size: most that "auto" takes.
            target_memory_utilization: share of the free memory that "auto" fills.

        Raises:
            InvalidInputError, ImageReadError, ImageDecodeError: as for `inference`, at the photo's place in the order.
        """
        limit = BatchLimit(batch_size, self.device, most=max_batch_size, utilization=target_memory_utilization)
        on_failure = raise_failure if OnError(on_error) is OnError.RAISE else on_failure or log_failure
        batches = self.input_processor.batches(
            images,
            limit.expected,
            process_res,
            process_res_method,
            num_workers=num_workers,
            exif=exif,
            strategy=strategy,
            fidelity=fidelity,
            limit=limit,
            **reading,
        )
        options: dict[str, Any] = {"export_feat_layers": tuple(export_feat_layers or ()), "infer_gs": infer_gs}
        self.model.check_options(**options)
        options["use_ray_pose"] = use_ray_pose
        return self._runner().stream(batches, limit, on_failure, options)

    def stream_video(self, source: VideoInput, **options: Any) -> Iterator[tuple[Frame, Prediction]]:
        """Depth of a video's frames, as they come: each frame with its time, and its `Prediction` (N = 1).

        Args:
            source: a video file, image sequence, camera, address, or any iterable of frames.
            options: which frames, `mode="live"`, `temporal="ema"` and others: see `video_stream.stream_video`.
        """
        return stream_video(self, source, **options)

    def batch_inference(
        self,
        images: Iterable[ImageInput],
        batch_size: int | str = "auto",
        max_batch_size: int = 64,
        target_memory_utilization: float = 0.85,
        progress_callback: Callable[[int, int | None], None] | None = None,
        **options: Any,  # Any: as for `stream`
    ) -> list[Prediction]:
        """Depth of independent photos, as a list: `stream` under the name that a fork of upstream gave it.

        Args:
            images, batch_size, max_batch_size, target_memory_utilization, options: as for `stream`.
            progress_callback: called with how many are done and how many there are (None if that is not known).
        """
        total = len(images) if isinstance(images, Sized) else None
        predictions = []
        for prediction in self.stream(
            images,
            batch_size=batch_size,
            max_batch_size=max_batch_size,
            target_memory_utilization=target_memory_utilization,
            **options,
        ):
            predictions.append(prediction)
            if progress_callback is not None:
                progress_callback(len(predictions), total)
        return predictions

    def _runner(self) -> NetworkRunner:
        return NetworkRunner(self.model, self.output_processor, self.card, self.device, self._dtype(), self._threads)

    def _dtype(self) -> torch.dtype:
        """What the backbone computes in."""
        return usual_dtype(self.device) if self.compute_dtype is None else self.compute_dtype


def _in_float64(matrices: Any) -> npt.NDArray[np.float64]:  # Any: whatever numpy makes an array of, or a tensor
    """Camera matrices without loss: float32 would move a camera in map coordinates by half a metre."""
    return np.asarray(matrices.detach().cpu() if isinstance(matrices, torch.Tensor) else matrices, np.float64)
