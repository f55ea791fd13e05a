"""Compute depth and cameras of images: `DepthAnything3`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch

from depth_anything_3.export import AvailableFields, ExportOptions, export
from depth_anything_3.export.checks import check_writing
from depth_anything_3.export.image_results import DepthKwargs, ImageResults
from depth_anything_3.export.registry import DEFAULT_FORMAT, Formats
from depth_anything_3.inference.backends.backend import BackendName
from depth_anything_3.inference.backends.converted_backend import backend_device, backend_of
from depth_anything_3.inference.model_kwargs import LoadKwargs, ModelKwargs, parse_load_kwargs, warn_of_unused
from depth_anything_3.inference.network_module import NetworkModule
from depth_anything_3.inference.options import BatchInferenceKwargs, InferenceKwargs, NetworkOptions, StreamOptions
from depth_anything_3.inference.output_options import OutputOptions
from depth_anything_3.inference.video.options import VideoKwargs, VideoOptions
from depth_anything_3.inference.video.stream import stream_video
from depth_anything_3.inference.views import GivenCameras, ViewOptions, check_cameras, infer_views
from depth_anything_3.inputs.choices import OutputSize, ProcessResMethod, ProcessResMethodName, Upsampling
from depth_anything_3.inputs.failure import ImageFailure, failure_handler, log_failure, raise_error
from depth_anything_3.inputs.given_images import GivenImages, ImagesInput, expand_images, read_open_files
from depth_anything_3.inputs.image_source import ImageInput
from depth_anything_3.inputs.options import PreprocessOptions, check_names
from depth_anything_3.inputs.video import Frame, VideoInput
from depth_anything_3.model import RefViewStrategy
from depth_anything_3.model.checkpoint import find_checkpoint, load_weights
from depth_anything_3.model.choices import RefViewStrategyName
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.devices import DtypeName, choose_device, parse_dtype

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["DepthAnything3", "ImageFailure", "Prediction", "choose_device"]

logger = logging.getLogger(__name__)

OnFailure = Callable[[ImageFailure], None]


class DepthAnything3(NetworkModule):
    """A Depth Anything 3 model, which computes a `Prediction` from images.

    Args:
        model_name: preset of the network. The weights are random; use `from_pretrained` to load trained ones.
        options: `device` of the weights; `config` and `use_cache`, which upstream's clients pass, have no effect.

    Example:
        >>> model = DepthAnything3.from_pretrained("depth-anything/DA3-BASE")
        >>> prediction = model.inference(["left.jpg", "right.jpg"])     # two views of one scene
        >>> prediction = model.depth("kitchen.jpg")                     # one image by itself
        >>> predictions = model.depth(["kitchen.jpg", "garden.jpg"])    # two unrelated images
    """

    def __init__(self, model_name: str = "da3-large", **options: Unpack[ModelKwargs]) -> None:
        check_names(options, caller=DepthAnything3, keywords=ModelKwargs)
        super().__init__(model_name)
        device = options.pop("device", None)
        warn_of_unused("DepthAnything3()", options)
        if device is not None:
            self.to(choose_device(device))

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        device: str | torch.device | None = None,
        dtype: DtypeName | torch.dtype | None = None,
        **options: Unpack[LoadKwargs],
    ) -> Self:
        """Load a checkpoint from a folder or the Hugging Face hub.

        Args:
            pretrained_model_name_or_path: a hub id such as "depth-anything/DA3-BASE", a folder with `config.json` and
                `model.safetensors`, the name of a preset such as "da3-base", which stands for its hub id (see `da3
                models`), or "da3-nano", the demonstration model bundled with the package.
            device: device of the weights. None or "auto" selects CUDA, then Apple's GPU, then the CPU.
            dtype: dtype of the backbone's computation: "float32", "bfloat16" or "float16". None or "auto" selects
                bfloat16 on CUDA devices of capability 8.0 and above, float16 on older ones, float32 elsewhere. The
                device then holds the backbone's matrices in it; `state_dict()` and `save_pretrained` give float32 as
                loaded; see docs/models.md.
            options: any of these.

                - local_files_only: use only the local cache of the hub.
                - force_download: download again.
                - revision, cache_dir, token: see `huggingface_hub`.
                - map_location: another name of `device`.
                - backend: what computes: "torch" (default); "openvino" or "onnxruntime", on the CPU, converted once and
                  kept in the user's cache folder; "auto": OpenVINO on a CPU where it is installed and gives the results
                  of torch, else torch. See docs/backends.md.
                - strict, proxies, resume_download, config, use_cache: accepted without effect.
                - a subclass with its own `__init__` gets all other keyword arguments.

        Raises:
            CheckpointNotFoundError: there is no such folder or repository, or the hub is unreachable.
            CheckpointFormatError: the files are damaged, or do not match their preset.
            InvalidInputError: the device, dtype or backend is not accepted.
            UnsupportedError: the backend is not installed, or cannot compute this model.
        """
        plain = cls.__init__ is DepthAnything3.__init__
        if plain:
            check_names(options, caller=cls.from_pretrained, keywords=LoadKwargs)
        hub, own = parse_load_kwargs(options)
        backend = BackendName(options.get("backend") or "torch")
        target = backend_device(backend, options.get("map_location") if device is None else device)
        compute_dtype = parse_dtype(dtype)
        checkpoint = find_checkpoint(pretrained_model_name_or_path, **hub)
        with torch.device("meta") if plain else nullcontext():  # a subclass may have weights of its own
            model = cls(model_name=checkpoint.preset, **own)
        model._engine.compute_dtype = compute_dtype
        low = model._engine.dtype_on(target) is not torch.float32
        load_weights(model, checkpoint, torch.device("cpu") if low else target)
        model.to(target).eval()
        model._engine.other_backend = backend_of(backend, model._engine.torch_backend, model.card)
        return model

    def inference(
        self,
        image: ImagesInput,
        extrinsics: Any = None,  # Any: array-like
        intrinsics: Any = None,
        align_to_input_ext_scale: bool = True,
        infer_gs: bool = False,
        use_ray_pose: bool = False,
        ref_view_strategy: RefViewStrategy | RefViewStrategyName = "saddle_balanced",
        render_exts: Any = None,
        render_ixts: Any = None,
        render_hw: tuple[int, int] | None = None,
        process_res: int | None = None,
        process_res_method: ProcessResMethod | ProcessResMethodName = "upper_bound_resize",
        export_dir: str | os.PathLike[str] | None = None,
        export_format: Formats = DEFAULT_FORMAT,
        export_feat_layers: Sequence[int] | None = None,
        conf_thresh_percentile: float = 40.0,
        num_max_points: int | None = 1_000_000,
        show_cameras: bool = True,
        feat_vis_fps: int = 15,
        export_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
        **options: Unpack[InferenceKwargs],
    ) -> Prediction:
        """Compute depth and cameras of the views of ONE scene: every view attends to all others.

        For unrelated images use `depth` or `stream`; a list passed here is always one scene.

        Args:
            image: list of images; see `stream` for their types. One image is one view; the images of a folder or a
                pattern, and of an array (N, H, W, 3) or a tensor (N, 3, H, W), are views of one scene.
            extrinsics: (N, 4, 4) world-to-camera poses (OpenCV axes) to condition on; requires `intrinsics`.
            intrinsics: (N, 3, 3) in pixels of the upright source images. Without `extrinsics`, models that predict
                cameras ignore them, with a warning; the others use them for metric depth (`Prediction.metric_depth`)
                and points.
            align_to_input_ext_scale: with given poses, True returns the given poses, with depth scaled to their unit;
                False returns depth as predicted, with the poses transformed to the predicted frame.
            infer_gs: also predict 3D Gaussians (da3-giant and the nested model).
            use_ray_pose: compute cameras from the ray map instead of the camera decoder; slower.
            ref_view_strategy: "saddle_balanced", "saddle_sim_range", "first" or "middle"; used with three or more
                views.
            render_exts, render_ixts, render_hw: cameras of the Gaussian video; see `export.ExportOptions`.
            process_res: length of the bounded side in pixels; None: 504, or the model's best (da3-nano: 224).
            process_res_method: "upper_bound_resize", "upper_bound_crop", "lower_bound_resize", "lower_bound_crop".
            export_dir: folder to write results to; None writes nothing.
            export_format: names joined with '-', or a sequence of names; see docs/exports.md.
            export_feat_layers: backbone layers to return in `Prediction.aux`.
            conf_thresh_percentile, num_max_points, show_cameras, feat_vis_fps, export_kwargs: see
                `export.ExportOptions`.
            options: num_workers, executor, on_error, exif, mixed_sizes, strategy, fidelity, max_pixels, max_bytes,
                allow_truncated; see docs/options.md. With `on_error="skip"`, unreadable views are listed in
                `Prediction.failures`. output_size ("network" or "input"), upsampling ("guided" or "linear"): size of
                the results, see `Prediction.at_input_size`; the views must have one size for "input".

        Raises:
            InvalidInputError: an argument is not accepted (see its subclasses for images).
            UnsupportedError: the model or an export format does not support the request; raised before any image is
                read.
            ImageReadError, ImageDecodeError: a file is missing, unreadable, truncated or damaged.
            ExportError: a result cannot be written.
        """
        output = OutputOptions(
            output_size=OutputSize(options.pop("output_size", OutputSize.NETWORK)),
            upsampling=Upsampling(options.pop("upsampling", Upsampling.GUIDED)),
        )
        preprocess = replace(
            PreprocessOptions.parse(options, caller=self.inference, keywords=InferenceKwargs),
            process_res=process_res,
            process_res_method=ProcessResMethod(process_res_method),
        )
        network = NetworkOptions(
            infer_gs=infer_gs,
            use_ray_pose=use_ray_pose,
            ref_view_strategy=RefViewStrategy(ref_view_strategy),
            export_feat_layers=tuple(export_feat_layers or ()),
        )
        cameras = GivenCameras(extrinsics, intrinsics, align_to_input_ext_scale)
        check_cameras(self.engine, cameras)
        self.engine.check(network, has_poses=extrinsics is not None)
        writing = ExportOptions(
            conf_thresh_percentile=conf_thresh_percentile,
            num_max_points=num_max_points,
            show_cameras=show_cameras,
            feat_vis_fps=feat_vis_fps,
            render_exts=render_exts,
            render_ixts=render_ixts,
            render_hw=render_hw,
            export_kwargs=export_kwargs or {},
        )
        inputs = list(expand_images(image, _folders(export_dir)).images)
        if not align_to_input_ext_scale and extrinsics is None:
            logger.warning("align_to_input_ext_scale=False has no effect without extrinsics")
        available = AvailableFields.expected(
            self.card,
            views=len(inputs),
            intrinsics=intrinsics is not None,
            gaussians=infer_gs,
            features=bool(export_feat_layers),
            paths=all(isinstance(one, (str, os.PathLike)) for one in inputs),
            cropped=preprocess.process_res_method.crops,
        )
        formats = check_writing(export_dir, export_format, writing, available)
        views: list[Any] = list(read_open_files(inputs, preprocess.max_bytes))  # Any: images and sources
        viewing = ViewOptions(preprocess=preprocess, network=network, output=output)
        prediction = infer_views(self.engine, views, viewing, cameras)
        if export_dir is not None:
            export(prediction, Path(export_dir), formats, options=writing)
        return prediction

    @overload
    def depth(  # type: ignore[overload-overlap]  # a path and an array are iterables too
        self, images: ImageInput, *, on_failure: OnFailure | None = None, **options: Unpack[DepthKwargs]
    ) -> Prediction: ...

    @overload
    def depth(
        self, images: Iterable[ImageInput], *, on_failure: OnFailure | None = None, **options: Unpack[DepthKwargs]
    ) -> list[Prediction]: ...

    def depth(
        self, images: ImagesInput, *, on_failure: OnFailure | None = None, **options: Unpack[DepthKwargs]
    ) -> Prediction | list[Prediction]:
        """Compute the depth of independent images: of one image a `Prediction`, of several a list in their order.

        A folder, a pattern or an array of images gives a list, even of one image; for a type checker, which sees a
        path or an array, write `list(model.stream(folder))`. One image that cannot be used raises its error, whatever
        `on_error` is.

        Args:
            images, on_failure, options: see `stream`. Each prediction has N = 1.

        Raises:
            InvalidInputError, ImageReadError, ImageDecodeError, ExportError: see `stream`.
        """
        parsed = StreamOptions.parse(options, caller=self.depth, keywords=DepthKwargs)
        given = expand_images(images, _folders(options.get("export_dir")))
        handler = raise_error if given.is_one else failure_handler(parsed.preprocess.on_error, on_failure)
        predictions = list(self._stream(given, parsed, handler, options))
        return predictions[0] if given.is_one else predictions

    def stream(
        self, images: ImagesInput, *, on_failure: OnFailure | None = None, **options: Unpack[DepthKwargs]
    ) -> Iterator[Prediction]:
        """Compute the depth of independent images and yield one `Prediction` (N = 1) per image, in order.

        Images are decoded ahead while the network computes, and grouped by size without cropping. Memory use does not
        grow with their number, so a generator of paths is fine.

        Args:
            images: one of these.

                - An iterable of images. It is consumed a few batches ahead in another thread, so a generator must yield
                  a new array each time instead of refilling one buffer. An image is a path, the bytes of a file, a file
                  opened with "rb" (read from its position to its end, not closed), a PIL image, a uint8 RGB array
                  (H, W, 3), (H, W, 4) or (H, W), or a uint8 RGB tensor (3, H, W). For other dtypes the error gives the
                  line that converts.
                - One image. An open file is read during the call.
                - The path of a folder, for its image files; a path with `*`, `?` or `**` that does not exist, for those
                  that match. Both are sorted, without results of earlier runs of `da3` and without `export_dir`.
                - An array (N, H, W, 3) or a tensor (N, 3, H, W), for N images.
            on_failure: called with the `ImageFailure` of each skipped image; without it, failures are logged.
            options: any of these.

                - process_res, process_res_method, num_workers, executor, on_error, exif, strategy, fidelity,
                  max_pixels, max_bytes, allow_truncated: preprocessing; see docs/options.md. `on_error="raise"` raises
                  at the first image that cannot be used, "skip" skips it.
                - infer_gs, use_ray_pose, export_feat_layers: see `inference`.
                - output_size, upsampling: "input" gives results at the size of each image, see
                  `Prediction.at_input_size`. Files are decoded again; other images are held until their depth is known.
                - batch_size: maximum number of images of one size computed together, or "auto": on CUDA, what memory
                  holds, measured once per size; on a CPU what was fastest, see `BatchOptions`. Halved if memory fails.
                - max_batch_size, target_memory_utilization: upper bound of "auto", and the share of the free memory
                  that it may fill.
                - export_dir: folder to write each image's results to before its prediction is yielded. Names are those
                  of `da3 images`, without the suffix of the file; pixels and bytes in memory are named by their index,
                  `image_0003`. No two images of a call share a name; the names are held in memory.
                - export_format, and the fields of `export.ExportOptions` except `shared_range`.

        Raises:
            InvalidInputError, ImageReadError, ImageDecodeError: see `inference`; raised at the image's place in the
                order.
            UnsupportedError: an export format needs what the model does not predict; raised before any image is read.
            ExportError: a result cannot be written.
        """
        parsed = StreamOptions.parse(options, caller=self.stream, keywords=DepthKwargs)
        given = expand_images(images, _folders(options.get("export_dir")))
        return self._stream(given, parsed, failure_handler(parsed.preprocess.on_error, on_failure), options)

    def _stream(
        self, given: GivenImages, options: StreamOptions, on_failure: OnFailure, writing: DepthKwargs
    ) -> Iterator[Prediction]:
        results = ImageResults.parse(writing, self.card, options, given)
        images: Iterable[Any] = read_open_files(given.images, options.preprocess.max_bytes)  # Any: images and sources
        if given.is_one:  # an open file may be closed before the first result is taken
            images = list(images)
        predictions = self.engine.stream(images, options, on_failure, ready=given.ready)
        return predictions if results is None else results.written(predictions)

    def stream_video(
        self, source: VideoInput, *, on_failure: OnFailure = log_failure, **options: Unpack[VideoKwargs]
    ) -> Iterator[tuple[Frame, Prediction]]:
        """Compute the depth of a video and yield each frame, with its time, and its `Prediction` (N = 1).

        Args:
            source: a video file, image sequence, camera, address, or any iterable of frames; see
                `depth_anything_3.inputs.video.open_source`.
            on_failure: with `on_error="skip"`, called for each frame that cannot be used.
            options: frame selection (fps, every, start, end, after, raw), `mode="live"`, `temporal="ema"`, `window`,
                and the options of `stream`; see `depth_anything_3.inference.video.options.VideoOptions`.

        Raises:
            InvalidInputError: an option is not accepted.
            VideoReadError, VideoDecodeError: the source cannot be opened, is damaged or was interrupted.
        """
        return stream_video(self.engine, source, VideoOptions.parse(options, caller=self.stream_video), on_failure)

    def batch_inference(
        self,
        images: ImagesInput,
        process_res: int | None = None,
        batch_size: int | Literal["auto"] = "auto",
        max_batch_size: int = 64,
        target_memory_utilization: float = 0.85,
        progress_callback: Callable[[int, int | None], None] | None = None,
        *,
        on_failure: OnFailure | None = None,
        **options: Unpack[BatchInferenceKwargs],
    ) -> list[Prediction]:
        """Compute the depth of independent images and return a list, also of one image.

        Named like the method of a fork of upstream.

        Args:
            images, process_res, batch_size, max_batch_size, target_memory_utilization, on_failure, options: see
                `stream`.
            progress_callback: called with the number of images done and the total (None if unknown).
        """
        check_names(options, caller=self.batch_inference, keywords=BatchInferenceKwargs)
        given = expand_images(images).images
        total = len(given) if isinstance(given, Sized) else None
        predictions = []
        for prediction in self.stream(
            given,
            on_failure=on_failure,
            process_res=process_res,
            batch_size=batch_size,
            max_batch_size=max_batch_size,
            target_memory_utilization=target_memory_utilization,
            **options,
        ):
            predictions.append(prediction)
            if progress_callback is not None:
                progress_callback(len(predictions), total)
        return predictions


def _folders(export_dir: str | os.PathLike[str] | None) -> tuple[Path, ...]:
    """Return the folders that a search for images does not enter."""
    return () if export_dir is None else (Path(export_dir),)
