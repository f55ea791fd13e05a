"""A module that holds a network and the engine which runs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from depth_anything_3.errors import ExportError, UnsupportedError
from depth_anything_3.exported.runtimes.open import open_graph
from depth_anything_3.exported.runtimes.runtime import RuntimeName, RuntimeNameText
from depth_anything_3.exported.verification import OnStep, Verification
from depth_anything_3.inference.backends.graph_backend import GraphBackend
from depth_anything_3.inference.backends.graph_module import GraphModule, exported_card
from depth_anything_3.inference.engine import Engine
from depth_anything_3.inference.export_model import ExportKwargs, export_network, parse_specification
from depth_anything_3.inference.given_processor import GivenProcessor
from depth_anything_3.inference.model_kwargs import SaveKwargs, warn_of_unused
from depth_anything_3.inference.options import NetworkOptions
from depth_anything_3.inputs.image_source import ImageInput
from depth_anything_3.inputs.options import check_names
from depth_anything_3.model import DepthAnything3Net, RefViewStrategy, build_network
from depth_anything_3.model.catalog import MODEL_CARDS, ModelCard
from depth_anything_3.model.checkpoint import save_checkpoint
from depth_anything_3.model.choices import RefViewStrategyName
from depth_anything_3.model.network import use_matrix_dtype
from depth_anything_3.model.precision import keep_float32
from depth_anything_3.runtime.attribute_dict import AttributeDict
from depth_anything_3.runtime.devices import choose_device, low_precision
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from depth_anything_3.utils.io.output_processor import OutputProcessor

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["NetworkModule"]

_MAX_PROBLEMS = 5  # in a message


class NetworkModule(nn.Module):
    """A network, as `model`, and its engine: the base of `DepthAnything3`.

    Args:
        model_name: preset of the network; the weights are random.
    """

    _exported_card: ModelCard | None = None  # of a model without weights

    def __init__(self, model_name: str) -> None:
        super().__init__()
        self.model_name = model_name
        self.model = build_network(model_name)
        self._engine = Engine(self.model, self.card)
        self.eval()

    @classmethod
    def from_exported(
        cls,
        file: str | os.PathLike[str],
        runtime: RuntimeName | RuntimeNameText | None = None,
        providers: Sequence[str] | None = None,
    ) -> Self:
        """Load an exported network: a model without weights of torch, whose results are those of the file.

        `depth`, `stream`, `stream_video`, exports and, if the file takes several views, `inference` work as with a
        checkpoint. Options that the file does not have, such as given poses, raise an error before anything is read.

        Args:
            file: an .onnx, .xml or .pt2 file that this package has exported.
            runtime: the library that runs it: "onnxruntime" (.onnx), "openvino" (.xml, .onnx) or "torch" (.pt2); None:
                the first of these for the suffix.
            providers: what computes, as the library names it: ("CUDAExecutionProvider", "CPUExecutionProvider") for
                ONNX Runtime, ("GPU",) for OpenVINO, ("cuda",) for torch; None: the CPU. Only CPUs have been run yet.

        Raises:
            CheckpointNotFoundError: there is no such file.
            CheckpointFormatError: the file is damaged, or this package did not write it.
            InvalidInputError: the suffix or runtime is not accepted.
            UnsupportedError: the library is not installed, or cannot use the provider.
        """
        graph = open_graph(file, runtime, providers)
        card = exported_card(graph.metadata, file)
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model.model_name = card.name
        backend = GraphBackend(graph, card)
        model.model = cast(DepthAnything3Net, GraphModule(backend))  # it is called as one
        model._exported_card = card
        model._engine = Engine(model.model, card)
        model._engine.other_backend = backend
        return model.eval()

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:  # Any: as torch's
        """Return the weights; see `torch.nn.Module.state_dict`.

        Raises:
            UnsupportedError: the model is an exported file, see `from_exported`.
        """
        self._check_has_weights()
        return super().state_dict(*args, **kwargs)

    def _check_has_weights(self) -> None:
        if self._exported_card is not None:
            raise UnsupportedError(
                f"this model is an exported file of {self.model_name}, whose weights cannot be read or changed; load "
                "the checkpoint with `from_pretrained`"
            )

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Unpack[SaveKwargs]) -> None:
        """Write `config.json` and `model.safetensors` in the official format, each in an atomic write.

        Args:
            save_directory: folder to write to.
            options: config, repo_id, push_to_hub and model_card_kwargs of `huggingface_hub`, without effect.

        Raises:
            ExportError: the folder cannot be written.
            UnsupportedError: `push_to_hub` is true, or the model is an exported file.
        """
        self._check_has_weights()
        check_names(options, caller=self.save_pretrained, keywords=SaveKwargs)
        if options.get("push_to_hub"):
            raise UnsupportedError("push_to_hub=True is not supported; save to a folder, and run `hf upload`")
        warn_of_unused("save_pretrained()", options)
        save_checkpoint(self, self.model_name, save_directory)

    def compile(self, *args: Any, **kwargs: Any) -> None:  # Any: arguments of torch.compile
        """Compile the network with `torch.compile`, which receives the arguments.

        Compilation (about a minute) happens at the first image, and again at the first image of a second size.

        Raises:
            UnsupportedError: the model has another backend than torch.
        """
        if self._engine.other_backend is not None:
            raise UnsupportedError("torch.compile needs backend='torch'; omit the backend, or do not compile")
        self.model.compile(*args, **kwargs)

    def export_model(
        self,
        path: str | os.PathLike[str],
        *,
        verify: bool | Sequence[ImageInput] = True,
        on_progress: OnStep | None = None,
        **options: Unpack[ExportKwargs],
    ) -> Verification:
        """Write the network as an ONNX, OpenVINO or pt2 file, which appears only if it computes the same.

        The file is compared with the network in every installed library that runs it, on real images, at every corner
        of the ranges that it accepts; see docs/export-model.md. An existing file is replaced.

        Args:
            path: file to write; its suffix, .onnx, .xml (OpenVINO) or .pt2, says the format.
            verify: False writes the file without comparison. A sequence of images is compared too, besides the bundled
                ones.
            on_progress: called with a line of text before each step.
            options: any of these.

                - format: "onnx", "openvino" or "pt2".
                - size: (height, width) of the images, multiples of 14, or "280x504"; default: 280x504, or with a model
                  that was trained for a smaller size, that size. With `dynamic="all"`, the size that is traced.
                - dynamic: "none", "batch" or "all" (batch, height and width).
                - views: number of views of a scene, or "dynamic"; mono and metric models take 1.
                - dtype: "float32", "float16" or "bfloat16" of the backbone's computation.
                - input: "normalised" (float32, channels first), or "uint8" (RGB, channels last; the file normalises).
                - outputs: of "depth", "conf", "sky", "extrinsics", "intrinsics"; default: all that the model predicts.

        Returns:
            What was compared, and the errors that were found.

        Raises:
            InvalidInputError: an option is not accepted.
            UnsupportedError: a library that writes or runs the format is not installed, the model does not support the
                request, or it is an exported file itself; raised before anything is written.
            ImageReadError, ImageDecodeError: an image of `verify` cannot be used.
            ExportError: the comparison failed (the message lists where), or the file cannot be written.
        """
        self._check_has_weights()
        check_names(options, caller=self.export_model, keywords=ExportKwargs)
        target = Path(path).expanduser()
        specification = parse_specification(target, self.card, options)
        device = self.device
        self.to("cpu")
        try:
            result = export_network(
                self.model, self.card, specification, target, verify, on_progress or (lambda _line: None)
            )
        finally:
            self.to(device)
        if not result.ok:
            shown = "; ".join(result.problems[:_MAX_PROBLEMS])
            more = len(result.problems) - _MAX_PROBLEMS
            raise ExportError(f"{target}: not written: {shown}" + (f"; and {more} more" if more > 0 else ""))
        return result

    def forward(
        self,
        image: torch.Tensor,
        extrinsics: torch.Tensor | None = None,
        intrinsics: torch.Tensor | None = None,
        export_feat_layers: Sequence[int] | None = None,
        infer_gs: bool = False,
        use_ray_pose: bool = False,
        ref_view_strategy: RefViewStrategy | RefViewStrategyName = "saddle_balanced",
    ) -> AttributeDict[Any]:  # Any: tensors, and a dictionary of tensors
        """Run the network on prepared images, without gradients, in the model's dtype of computation.

        With another backend than torch it is still torch that runs, except after `from_exported`.

        Args:
            image: (B, N, 3, H, W) ImageNet-normalised RGB on the model's device; H and W are multiples of 14.
            extrinsics, intrinsics: (B, N, 4, 4) and (B, N, 3, 3) given cameras; see `DepthAnything3Net.forward`.
            export_feat_layers, infer_gs, use_ray_pose, ref_view_strategy: see `inference`.

        Returns:
            The network's output, a dictionary of float32 tensors whose keys are also attributes: depth (B, N, H, W)
            and what else the model predicts. `output_processor` converts that of one scene to a `Prediction`.

        Raises:
            InvalidInputError: a shape, layer or strategy is not accepted.
            UnsupportedError: the model does not support given poses or Gaussians.
        """
        if self._exported_card is not None:
            cameras = {"extrinsics": extrinsics, "intrinsics": intrinsics}
            options = NetworkOptions(
                infer_gs=infer_gs,
                use_ray_pose=use_ray_pose,
                ref_view_strategy=RefViewStrategy(ref_view_strategy),
                export_feat_layers=tuple(export_feat_layers or ()),
            )
            return AttributeDict(self._engine.backend(image, **cameras, **options.forward()))
        dtype = self._engine.dtype_on(image.device)
        use_matrix_dtype(self.model, dtype)
        with torch.no_grad(), low_precision(image.device, dtype):
            outputs: AttributeDict[Any] = self.model(
                image,
                extrinsics,
                intrinsics,
                export_feat_layers=export_feat_layers,
                infer_gs=infer_gs,
                use_ray_pose=use_ray_pose,
                ref_view_strategy=ref_view_strategy,
            )
        return outputs

    def __setattr__(self, name: str, value: Any) -> None:  # Any: any attribute
        if isinstance(getattr(type(self), name, None), property):  # torch would store a module beside the property
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Convert as `to`, `half` and others ask; a low dtype becomes that of the backbone's computation."""
        if self._exported_card is not None:  # without weights; the file determines the dtype and the provider
            return self
        convert, requested = keep_float32(fn)
        if requested is not None:
            self._engine.weights_dtype = None if requested is torch.float32 else requested
        target = convert(torch.empty(0)).device
        on_cpu = any(one.device.type == "cpu" for one in self.model.parameters())
        if on_cpu and target.type != "cpu" and requested is not torch.float32:
            # Before the move: half as much crosses the bus, and the float32 values stay where they are.
            use_matrix_dtype(self.model, self._engine.dtype_on(target))
        super()._apply(convert, recurse)  # type: ignore[no-untyped-call]
        return self

    @property
    def config(self) -> dict[str, str]:
        """The content of `config.json`."""
        return {"model_name": self.model_name}

    @property
    def card(self) -> ModelCard:
        """The catalog entry of the model: what it predicts, and its licence."""
        return self._exported_card or MODEL_CARDS[self.model_name]

    @property
    def device(self) -> torch.device:
        """The device of the weights; setting it moves them."""
        return self.engine.device

    @device.setter
    def device(self, device: str | torch.device | None) -> None:
        if device is not None:  # upstream's clients forget its cached device so
            self.to(choose_device(device))

    def _get_model_device(self) -> torch.device:
        """Kept for clients of upstream: return `device`."""
        return self.device

    @property
    def engine(self) -> Engine:
        """The network with its input processor and threads."""
        self._engine.network, self._engine.card = self.model, self.card  # the caller may have replaced them
        return self._engine

    @property
    def input_processor(self) -> InputProcessor | GPUInputProcessor:
        """The processor that prepares images on the network's device.

        It can be replaced by another one, or by a function that is called like it and returns the same, or a tuple of
        images (N, 3, H, W), extrinsics and intrinsics. None restores the default.
        """
        current = self.engine.input_processor
        return cast(InputProcessor, current.process) if isinstance(current, GivenProcessor) else current

    @input_processor.setter
    def input_processor(self, processor: Callable[..., Any] | None) -> None:  # Any: see above
        self.engine.input_processor = processor

    @property
    def output_processor(self) -> OutputProcessor:
        """The processor that converts the network's output to a `Prediction`."""
        return self.engine.output_processor
