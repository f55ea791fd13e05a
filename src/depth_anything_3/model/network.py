"""The networks of the any-view, mono and metric presets."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.model.backbone import Backbone, BackboneOutput
from depth_anything_3.model.camera import CameraDecoder, CameraEncoder, decode_pose
from depth_anything_3.model.catalog import PATCH_SIZE, Preset, find_preset, models_that
from depth_anything_3.model.choices import RefViewStrategy, RefViewStrategyName
from depth_anything_3.model.dual_dpt import DenseMaps, DualDptHead
from depth_anything_3.model.gaussian_adapter import place_gaussians
from depth_anything_3.model.gaussian_head import GaussianHead
from depth_anything_3.model.geometry import rigid_inverse
from depth_anything_3.model.metric_scale import fill_sky
from depth_anything_3.model.ray_pose import cameras_from_rays
from depth_anything_3.model.sky_dpt import SkyDptHead, SkyMaps
from depth_anything_3.runtime.attribute_dict import AttributeDict

__all__ = ["DepthAnything3Net", "use_matrix_dtype"]

logger = logging.getLogger(__name__)

# torch.export refuses outputs of unknown types, and torch a second registration, when this module is reloaded.
if AttributeDict not in _pytree.SUPPORTED_NODES:
    _pytree.register_pytree_node(
        AttributeDict,
        lambda outputs: (list(outputs.values()), list(outputs)),
        lambda values, names: AttributeDict(zip(names, values, strict=True)),
        serialized_type_name="depth_anything_3.AttributeDict",
    )


class BackboneLevel(nn.ModuleDict):
    """The backbone, under the extra level that the names of the published weights have."""

    def __init__(self, preset: Preset) -> None:
        super().__init__({"pretrained": Backbone(preset)})

    def forward(
        self,
        x: Tensor,
        cam_token: Tensor | None = None,
        export_feat_layers: Iterable[int] = (),
        ref_view_strategy: RefViewStrategy | RefViewStrategyName = RefViewStrategy.SADDLE_BALANCED,
    ) -> tuple[tuple[tuple[Tensor, Tensor], ...], list[Tensor]]:
        """Kept for clients of upstream: run the backbone alone.

        Args:
            x, export_feat_layers, ref_view_strategy: See :meth:`DepthAnything3Net.forward`.
            cam_token: `(B, S, width)` encoded given poses.

        Returns:
            Four pairs of patch features `(B, S, N, D)` and camera tokens `(B, S, D)`, and the output
            `(B, S, N, width)` of each exported block, ascending, views in the order of `x`.
        """
        out: BackboneOutput = self["pretrained"](
            x,
            camera_tokens=cam_token,
            export_layers=sorted(export_feat_layers),
            strategy=RefViewStrategy(ref_view_strategy),
        )
        pairs = tuple(zip(out.features, out.camera_tokens, strict=True))
        return pairs, [feature.flatten(2, 3) for feature in out.exported]


class DepthAnything3Net(nn.Module):
    """A single network of Depth Anything 3 (Lin et al., 2025): any-view, mono or metric.

    Its parameters have the names of the published weights without the leading `model.`. Build it under
    `torch.device("meta")` and load a checkpoint with `load_state_dict(..., assign=True)` to skip the initialisation of
    weights that are replaced at once; there are no buffers.

    Args:
        preset: A preset or its name.

    Raises:
        InvalidInputError: No preset has this name.

    Example:
        >>> net = DepthAnything3Net("da3-small").eval()
        >>> with torch.inference_mode():
        ...     out = net(torch.zeros(1, 2, 3, 56, 84))
        >>> out["depth"].shape
        torch.Size([1, 2, 56, 84])
    """

    def __init__(self, preset: Preset | str) -> None:
        super().__init__()
        self.preset = find_preset(preset) if isinstance(preset, str) else preset
        self.backbone = BackboneLevel(self.preset)
        if self.preset.alt_start is None:
            self.head: DualDptHead | SkyDptHead = SkyDptHead(self.preset)
            return
        self.head = DualDptHead(self.preset)
        self.cam_dec = CameraDecoder(self.preset.feature_width)
        self.cam_enc = CameraEncoder(self.preset.width)
        if self.preset.gaussian_head:
            self.gs_head = GaussianHead(self.preset)

    def forward(
        self,
        x: Tensor,
        extrinsics: Tensor | None = None,
        intrinsics: Tensor | None = None,
        export_feat_layers: Iterable[int] | None = (),
        infer_gs: bool = False,
        use_ray_pose: bool = False,
        ref_view_strategy: RefViewStrategy | RefViewStrategyName = RefViewStrategy.SADDLE_BALANCED,
        generator: torch.Generator | None = None,
    ) -> AttributeDict[Any]:
        """Predict depth and more for B scenes of S views each; any-view networks attend across the views of a scene.

        Under autocast only the backbone runs in low precision; everything else is float32.

        Args:
            x: `(B, S, 3, H, W)` ImageNet-normalised RGB; H and W are multiples of 14.
            extrinsics: `(B, S, 4, 4)` given poses, world to camera, OpenCV axes. They condition the prediction;
                the output still has predicted poses.
            intrinsics: `(B, S, 3, 3)` of the given poses, in pixels of `x`. Without poses they are ignored, with a
                warning.
            export_feat_layers: Backbone blocks whose output is also returned, in any order.
            infer_gs: Also predict 3D Gaussians.
            use_ray_pose: Compute poses from predicted rays instead of the camera decoder; slower. Networks without
                cameras ignore it.
            ref_view_strategy: How the reference view is chosen among three or more views without given poses.
            generator: A CPU generator for the random samples of `use_ray_pose`. By default a new generator seeded with
                0, so equal input gives equal output; upstream uses PyTorch's global generator.

        Returns:
            A dictionary of float32 tensors, whose keys are also attributes:

            - `depth` `(B, S, H, W)`;
            - any-view presets: `depth_conf` `(B, S, H, W)`, predicted `extrinsics` `(B, S, 3, 4)`, world to camera,
              and predicted `intrinsics` `(B, S, 3, 3)` in pixels of `x`;
            - mono and metric presets: `sky` `(B, S, H, W)`; values of 0.3 and more are sky, where `depth` is the 99th
              percentile of the scene's ground depth;
            - `gaussians`, a :class:`~depth_anything_3.model.gaussians.Gaussians`, with `infer_gs`;
            - `aux`, a dictionary with `feat_layer_{i}` `(B, S, H/14, W/14, C)` per exported layer, views in the order
              of `x`. (In upstream the reference view comes first from block `alt_start - 1` on.)

        Raises:
            InvalidInputError: A shape, layer, strategy or generator is not accepted.
            UnsupportedError: The preset does not support given poses or Gaussians, or weights are not float32.
        """
        layers = list(export_feat_layers or ())
        if extrinsics is None and intrinsics is not None:
            logger.warning(
                "%s ignores intrinsics without extrinsics; pass both to condition the prediction on cameras",
                self.preset.name,
            )
            intrinsics = None
        self.check_options(
            has_poses=extrinsics is not None,
            export_feat_layers=layers,
            infer_gs=infer_gs,
            ref_view_strategy=ref_view_strategy,
        )
        layers.sort()
        _check_images(x)
        _check_cameras(x.shape[0], x.shape[1], extrinsics, intrinsics)
        _check_generator(generator)
        _check_weights(next(self.parameters()))
        image_size = (x.shape[-2], x.shape[-1])

        camera_tokens = None
        if extrinsics is not None and intrinsics is not None:
            with _full_precision(x):
                camera_tokens = self.cam_enc(extrinsics.float(), intrinsics.float(), image_size)
        features: BackboneOutput = self.backbone["pretrained"](
            x, camera_tokens=camera_tokens, export_layers=layers, strategy=RefViewStrategy(ref_view_strategy)
        )
        with _full_precision(x):
            if self.preset.alt_start is None:
                maps: SkyMaps = self.head(features.features, image_size)
                out: AttributeDict[Any] = AttributeDict(depth=fill_sky(maps.depth, maps.sky), sky=maps.sky)
            else:
                out = self._depth_and_cameras(features, image_size, use_ray_pose, generator)
            if infer_gs:
                cameras = (out["extrinsics"], out["intrinsics"])
                given = None if extrinsics is None else extrinsics.float()
                raw = self.gs_head(features.features, x)
                out["gaussians"] = place_gaussians(raw, out["depth"], *cameras, given_extrinsics=given)
        out["aux"] = AttributeDict(
            (f"feat_layer_{layer}", feature.float()) for layer, feature in zip(layers, features.exported, strict=True)
        )
        return out

    def check_options(
        self,
        *,
        has_poses: bool = False,
        export_feat_layers: Iterable[int] = (),
        infer_gs: bool = False,
        ref_view_strategy: RefViewStrategy | RefViewStrategyName = RefViewStrategy.SADDLE_BALANCED,
    ) -> None:
        """Check that the network supports the options, before anything is computed.

        Args:
            has_poses: Whether poses will be given.
            export_feat_layers: See `forward`.
            infer_gs: See `forward`.
            ref_view_strategy: See `forward`.

        Raises:
            InvalidInputError: A layer does not exist or is repeated, or a strategy is unknown.
            UnsupportedError: The preset does not support given poses or Gaussians.
        """
        name = self.preset.name
        if has_poses and self.preset.alt_start is None:
            raise UnsupportedError(
                f"poses given to {name}, which does not support cameras; omit extrinsics and intrinsics, "
                f"or use {models_that(lambda card: card.has_poses)}"
            )
        if infer_gs and not self.preset.gaussian_head:
            raise UnsupportedError(
                f"infer_gs=True with {name}, which predicts no Gaussians; omit it, "
                f"or use {models_that(lambda card: card.has_gaussians)}"
            )
        layers = sorted(export_feat_layers)
        if any(layer not in range(self.preset.depth) for layer in layers) or len(set(layers)) < len(layers):
            raise InvalidInputError(
                f"export_feat_layers={list(layers)} with {name}; pass different numbers from 0 to "
                f"{self.preset.depth - 1}"
            )
        RefViewStrategy(ref_view_strategy)

    def _depth_and_cameras(
        self,
        features: BackboneOutput,
        image_size: tuple[int, int],
        use_ray_pose: bool,
        generator: torch.Generator | None,
    ) -> AttributeDict[Any]:
        maps: DenseMaps = self.head(features.features, image_size, with_rays=use_ray_pose)
        if use_ray_pose:
            assert maps.ray is not None
            assert maps.ray_conf is not None
            cameras = cameras_from_rays(maps.ray, maps.ray_conf, image_size, generator=generator)
        else:
            cameras = decode_pose(self.cam_dec(features.camera_tokens[-1].float()), image_size)
        camera_to_world, intrinsics = cameras
        return AttributeDict(
            depth=maps.depth,
            depth_conf=maps.depth_conf,
            extrinsics=rigid_inverse(camera_to_world),
            intrinsics=intrinsics,
        )


def use_matrix_dtype(network: nn.Module, dtype: torch.dtype) -> None:
    """Convert the matrices of a network's backbones to the dtype of their computation, if they are not in it.

    Args:
        network: any module; one without a `Backbone` is left as it is.
        dtype: float32, bfloat16 or float16.
    """
    if isinstance(network, Backbone):
        network.matrices.use(network, dtype)
        return
    # Not through the heads: this is called before every forward.
    inside = [network.backbone] if isinstance(network, DepthAnything3Net) else network.children()
    for child in inside:
        use_matrix_dtype(child, dtype)


def _check_images(x: Tensor) -> None:
    if x.ndim != 5 or x.shape[2] != 3 or 0 in x.shape or not x.is_floating_point():
        raise InvalidInputError(
            f"images of shape {tuple(x.shape)} and dtype {x.dtype}; "
            "pass a non-empty floating-point tensor (batch, views, 3, height, width)"
        )
    height, width = x.shape[-2:]
    if height % PATCH_SIZE or width % PATCH_SIZE:
        raise InvalidInputError(f"images of height {height} and width {width}; pass multiples of {PATCH_SIZE}")


def _check_cameras(batch: int, views: int, extrinsics: Tensor | None, intrinsics: Tensor | None) -> None:
    if extrinsics is None:
        return
    if intrinsics is None:
        raise InvalidInputError("intrinsics missing; pass both extrinsics and intrinsics, or neither")
    for name, given, side in (("extrinsics", extrinsics, 4), ("intrinsics", intrinsics, 3)):
        if given.shape != (batch, views, side, side):
            raise InvalidInputError(
                f"{name} of shape {tuple(given.shape)}; pass ({batch}, {views}, {side}, {side}), one for each view"
            )


def _check_generator(generator: torch.Generator | None) -> None:
    if generator is not None and generator.device.type != "cpu":
        raise InvalidInputError(
            f"a generator on {generator.device}; pass one on the CPU, which gives equal results on all devices"
        )


def _check_weights(weight: Tensor) -> None:
    if weight.dtype is not torch.float32:
        raise UnsupportedError(
            f"a network with weights of {weight.dtype}; convert them to float32 (`.float()`), and use torch.autocast "
            "to compute the backbone in low precision"
        )


def _full_precision(x: Tensor) -> torch.autocast:
    """Disable autocast on the device of `x`."""
    return torch.autocast(device_type=x.device.type, enabled=False)
