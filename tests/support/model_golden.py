"""Run the network on a golden case and compare every array of it.

A golden case is a set of named arrays that the authors' implementation produced from seeded weights and
images, in float32 on the CPU.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from depth_anything_3.model import DepthAnything3Net, NestedDepthAnything3Net, build_network
from depth_anything_3.model.dual_dpt import DualDptHead
from depth_anything_3.model.metric_scale import canonical_to_metric
from depth_anything_3.model.reference_view import order_from_reference, take_views
from depth_anything_3.model.sky_dpt import SkyMaps
from support.seeded_values import probe_indices, seeded_array, seeded_cameras, seeded_images

# Scaled errors. The authors' implementation differs from itself in float64 by up to 1.1e-5 (1.5e-5 for poses
# from rays, which amplify errors of the rays); a wrong epsilon or GELU moves results by 1e-4 and more.
TOLERANCE = 5e-5
RAY_POSE_TOLERANCE = 1e-3
UNIT_TOLERANCE = 3e-5
PLACED_TOLERANCE = 1e-4  # Gaussians, and what nested models scale

# What identifies inputs rather than results.
_INPUT_KEYS = ("meta", "head/ray_stride")

Arrays = Mapping[str, np.ndarray]


Network = DepthAnything3Net | NestedDepthAnything3Net


def seeded_network(preset: str, profile: str) -> Network:
    """A network with seeded weights, made the way a checkpoint is loaded."""
    with torch.device("meta"):
        net = build_network(preset)
    weights = {
        name: torch.from_numpy(seeded_array(f"model.{name}", value.shape, profile))
        for name, value in net.state_dict().items()
    }
    net.load_state_dict(weights, assign=True)
    return net.eval()


def case_meta(case: Arrays) -> dict[str, Any]:
    """Preset, sizes, seeds and call arguments of a case."""
    return json.loads(str(case["meta"]))


def case_inputs(meta: Mapping[str, Any]) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Images, extrinsics and intrinsics of a case, the latter two None where no cameras are given."""
    batch, views, size = meta["batch"], meta["views"], (meta["height"], meta["width"])
    folded = [seeded_images(batch * views, *size, meta["image_seed"])]
    if meta["camera_seed"] is not None:
        folded += seeded_cameras(batch * views, *size, meta["camera_seed"])
    images, *cameras = (torch.from_numpy(x).unflatten(0, (batch, views)) for x in folded)
    extrinsics, intrinsics = cameras or (None, None)
    return images, extrinsics, intrinsics


def errors_of_case(net: Network, case: Arrays) -> dict[str, float]:
    """Run a case; the scaled error of every result as a multiple of its tolerance, 1 being the limit."""
    meta = case_meta(case)
    observed = _observe(net, meta, case)
    errors = {}
    for key, golden in case.items():
        name, _, probes = key.partition("@")
        if name in _INPUT_KEYS:
            continue
        actual = observed[name]
        if probes:
            actual = actual.reshape(-1)[probe_indices(actual.size, int(probes))]
        errors[key] = scaled_error(actual, golden) / _tolerance(name, meta)
    return errors


def _tolerance(name: str, meta: Mapping[str, Any]) -> float:
    nested = "nested" in meta["preset"]
    scaled = nested and (name in ("depth", "depth_conf", "scale_factor") or name.startswith("nested/"))
    placed = name.startswith("gaussians/") or scaled
    if meta["use_ray_pose"] and (placed or name in ("extrinsics", "intrinsics")):
        return RAY_POSE_TOLERANCE
    return PLACED_TOLERANCE if placed or (nested and name == "extrinsics") else TOLERANCE


def scaled_error(actual: np.ndarray, golden: np.ndarray) -> float:
    """Largest difference over the largest golden value; infinite where shapes or integers differ."""
    if actual.shape != golden.shape:
        return np.inf
    if np.issubdtype(golden.dtype, np.integer):
        return 0.0 if np.array_equal(actual, golden) else np.inf
    difference = np.abs(actual.astype(np.float64) - golden).max()
    return float(difference / np.abs(golden).max()) if np.isfinite(difference) else np.inf


def _observe(net: Network, meta: Mapping[str, Any], case: Arrays) -> dict[str, np.ndarray]:
    """Everything a golden case may ask for, under its golden name."""
    images, extrinsics, intrinsics = case_inputs(meta)
    main = net.da3 if isinstance(net, NestedDepthAnything3Net) else net
    with ExitStack() as stack, torch.inference_mode():
        seen = stack.enter_context(_recording(main))
        seen_metric = None
        filled: list[dict[str, Tensor]] = []
        if isinstance(net, NestedDepthAnything3Net):
            seen_metric = stack.enter_context(_recording(net.da3_metric))
            hook = net.da3_metric.register_forward_hook(lambda _module, _args, out: filled.append(out))
            stack.callback(hook.remove)
        result = net(
            images,
            extrinsics,
            intrinsics,
            export_feat_layers=meta["export_feat_layers"],
            infer_gs=meta["infer_gs"],
            use_ray_pose=meta["use_ray_pose"],
            ref_view_strategy=meta["ref_view_strategy"],
            generator=torch.Generator().manual_seed(meta["torch_seed"]),
        )
    observed = {"input/images_probe": images.flatten()[probe_indices(images.numel())]}
    for key, value in (("input/extrinsics", extrinsics), ("input/intrinsics", intrinsics)):
        if value is not None:
            observed[key] = value
    step = meta["dense_stride"]
    for key in ("depth", "depth_conf", "sky"):
        if key in result:
            observed[key] = result[key][..., ::step, ::step]
    for key in ("extrinsics", "intrinsics"):
        if key in result:
            observed[key] = result[key]
    for key, value in result["aux"].items():
        value = _in_the_authors_order(value, key, main, seen["backbone"][0].reference_view)
        observed[f"aux/{key}"] = value[..., :: max(1, value.shape[-1] // 32)]
    if "gaussians" in result:
        index = torch.from_numpy(case["gaussians/index"])
        for key in ("means", "scales", "rotations", "harmonics", "opacities"):
            observed[f"gaussians/{key}"] = getattr(result["gaussians"], key)[:, index]
        observed["gaussians/index"] = index
        observed["gaussians/count"] = torch.tensor(result["gaussians"].means.shape[1])
    if filled:
        for key in ("is_metric", "scale_factor"):
            observed[key] = result[key].reshape(case[key].shape)
        observed["nested/metric_depth_scaled"] = canonical_to_metric(filled[0]["depth"], result["intrinsics"])
        observed["nested/metric_sky"] = filled[0]["sky"]
    observed |= _parts(seen, case)
    arrays = {key: value.numpy() for key, value in observed.items()} | _probes(seen)
    if seen_metric is not None:
        arrays |= {
            key.replace("head/", "head/metric_"): value.numpy() for key, value in _parts(seen_metric, case).items()
        }
        arrays |= {key.replace("probe/", "probe/metric_"): value for key, value in _probes(seen_metric).items()}
    return arrays


def _in_the_authors_order(feature: Tensor, name: str, net: DepthAnything3Net, reference: Tensor | None) -> Tensor:
    """Ours come in the caller's order; theirs begin with the reference view from the block on that first sees it so."""
    if reference is None or int(name.removeprefix("feat_layer_")) < net.preset.alt_start - 1:
        return feature
    return take_views(feature, order_from_reference(reference, feature.shape[1]))


def _parts(seen: dict[str, list[Any]], case: Arrays) -> dict[str, Tensor]:
    """What the golden keeps of a network's inside; probes are left in `seen`."""
    (features,), (maps,) = seen.pop("backbone"), seen.pop("head")
    parts = {}
    if isinstance(maps, SkyMaps):
        parts = {"head/depth": maps.depth, "head/sky": maps.sky}
    else:
        step = int(case["head/ray_stride"])
        parts["head/ray"], parts["head/ray_conf"] = maps.ray[:, :, ::step, ::step], maps.ray_conf[..., ::step, ::step]
    if features.reference_view is not None:
        parts["reference_view"] = features.reference_view
    for key in ("full/pose_enc", "full/cam_enc"):
        if key in seen:
            (parts[key],) = seen.pop(key)
    for level in range(4):
        seen[f"feat{level}"] = [features.features[level]]
        seen[f"camtok{level}"] = [features.camera_tokens[level]]
    if "gs_head" in seen:
        (raw,) = seen.pop("gs_head")
        seen["raw_gs"], seen["raw_gs_conf"] = [raw.raw], [raw.density]
    return parts


def _probes(seen: Mapping[str, list[Tensor]]) -> dict[str, np.ndarray]:
    """Statistics and samples of recorded tensors."""
    probes = {}
    for name, tensors in seen.items():
        if name == "blocks":
            rows = [_probe(x.numpy(), 64) for x in tensors]
            stats, samples = (np.stack(column) for column in zip(*rows, strict=True))
        else:
            is_long = name.startswith(("tokens", "camtok", "raw_gs"))
            stats, samples = _probe(torch.cat(tensors).numpy(), 512 if is_long else 128)
        probes[f"probe/{name}/stats"], probes[f"probe/{name}/samples"] = stats, samples
    return probes


def _probe(x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    stats = np.array([x.mean(dtype=np.float64), x.std(dtype=np.float64)])
    return stats, x.reshape(-1)[probe_indices(x.size, count)]


@contextmanager
def _recording(net: DepthAnything3Net) -> Iterator[dict[str, list[Any]]]:
    """Record what the network's parts give; a head that works in chunks gives several tensors."""
    seen: dict[str, list[Any]] = defaultdict(list)
    backbone, head = net.backbone["pretrained"], net.head
    scratch = head.scratch
    watched: dict[str, nn.Module] = {"neck": scratch.output_conv1, "logits": scratch.output_conv2}
    paths = ("", "_aux") if isinstance(head, DualDptHead) else ("",)
    if isinstance(head, DualDptHead):
        watched |= {"full/cam_enc": net.cam_enc, "full/pose_enc": net.cam_dec}
        watched |= {"neck_aux": scratch.output_conv1_aux[3], "logits_aux": scratch.output_conv2_aux[3]}
    for level in range(4):
        watched[f"project{level}"] = head.projects[level]
        watched[f"resize{level}"] = head.resize_layers[level]
        for path in paths:
            name = f"{level + 1}{path}"
            watched[f"refine{name}"] = getattr(scratch, f"refinenet{name}")

    def keep(name: str):
        # A copy, since the head adds to some of these in place.
        return lambda _module, _args, out: seen[name].append(out.clone() if isinstance(out, Tensor) else out)

    handles = [module.register_forward_hook(keep(name)) for name, module in watched.items()]
    handles += [block.register_forward_hook(keep("blocks")) for block in backbone.blocks]
    handles += [backbone.register_forward_hook(keep("backbone")), head.register_forward_hook(keep("head"))]
    handles.append(
        backbone.blocks[0].register_forward_pre_hook(lambda _module, args: seen["tokens"].append(args[0].clone()))
    )
    if net.preset.gaussian_head:
        handles.append(net.gs_head.register_forward_hook(keep("gs_head")))
    if isinstance(head, DualDptHead):
        # Rays are evaluated in every case, also where the network would leave them out.
        handles.append(
            head.register_forward_pre_hook(
                lambda _module, args, kwargs: (args, {**kwargs, "with_rays": True}), with_kwargs=True
            )
        )
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
