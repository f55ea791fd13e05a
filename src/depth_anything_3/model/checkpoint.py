"""Find, load and save checkpoints: folders or hub repositories with `config.json` and `model.safetensors`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from depth_anything_3.errors import CheckpointFormatError, CheckpointNotFoundError, ExportError
from depth_anything_3.model.catalog import MODEL_CARDS
from depth_anything_3.runtime.atomic_file import atomic_write

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Checkpoint", "HubKwargs", "find_checkpoint", "load_weights", "save_checkpoint"]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_DEFAULT_PRESET = "da3-large"
_BUNDLED_WEIGHTS = Path(__file__).parent / "weights"  # with a folder for each bundled model
_MAX_NAMES = 10  # in a message
_NETWORK = "model."  # begins the name of every tensor of the network

# Four levels share one layer norm, stored under level 0. If a file stores several, the highest level wins.
_TIED = re.compile(r"(?P<head>.*\.scratch\.output_conv2_aux)\.(?P<level>[123])\.2\.(?P<leaf>weight|bias)")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk.

    Attributes:
        name: folder, model name or hub id, as the caller passed it.
        preset: preset of its network.
        weights: path of the weights file.
    """

    name: str
    preset: str
    weights: Path

    @property
    def is_bundled(self) -> bool:
        """Whether it comes with the package."""
        return _BUNDLED_WEIGHTS in self.weights.parents


class HubKwargs(TypedDict, total=False):
    """Keyword arguments for the hub: use its local cache only, download again, and those of `huggingface_hub`."""

    local_files_only: bool
    force_download: bool
    revision: str | None
    cache_dir: str | os.PathLike[str] | None
    token: str | bool | None


def find_checkpoint(name: str | os.PathLike[str], **hub: Unpack[HubKwargs]) -> Checkpoint:
    """Find a checkpoint in a folder, in the package, in the hub's cache, or on the hub (with a progress bar).

    Args:
        name: a folder, the name of a model ("da3-nano", which is bundled, or "da3-base", for its preferred hub id), or
            a hub id such as "depth-anything/DA3-BASE", looked up in this order.
        hub: see `HubKwargs`.

    Raises:
        CheckpointNotFoundError: there is no such folder or repository, it lacks a file, or the hub is unreachable.
        CheckpointFormatError: `config.json` is invalid, or names a network that this version does not support.
    """
    name = os.fspath(name)
    local = os.path.expanduser(name)
    folder = Path(local)
    if not os.path.exists(local) and name in MODEL_CARDS and MODEL_CARDS[name].is_demonstration:
        folder = _BUNDLED_WEIGHTS / name
    if name and os.path.isdir(folder):
        for file in (CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / file).is_file():
                raise CheckpointNotFoundError(
                    f"{folder}: the folder has no {file}; a checkpoint needs {CONFIG_FILE} and {WEIGHTS_FILE}"
                )
        return Checkpoint(name, _read_preset(folder / CONFIG_FILE, name), folder / WEIGHTS_FILE)
    if os.path.exists(local):
        raise CheckpointNotFoundError(
            f"{name}: not a folder; pass the folder that contains {CONFIG_FILE} and {WEIGHTS_FILE}"
        )
    # Imports huggingface_hub, for 70 ms that a local checkpoint need not cost.
    from depth_anything_3.model.hub import HubRepository, find_hub_id

    cache_dir = hub.get("cache_dir")
    source = HubRepository(
        find_hub_id(name),
        hub.get("revision"),
        None if cache_dir is None else Path(cache_dir),
        hub.get("token"),
        hub.get("force_download", False),
    )
    repository = source.connect((CONFIG_FILE, WEIGHTS_FILE), local_files_only=hub.get("local_files_only", False))
    # The configuration first, so that an unsupported network costs no large download.
    preset = _read_preset(repository.find(CONFIG_FILE), name)
    return Checkpoint(name, preset, repository.find(WEIGHTS_FILE))


def _read_preset(config: Path, name: str) -> str:
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        preset = content.get("model_name", _DEFAULT_PRESET)
        if not isinstance(preset, str):
            raise ValueError(f"model_name is {preset!r}")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointFormatError(
            f"{name}: its {CONFIG_FILE} is not a valid configuration ({error}); copy or download it again"
        ) from error
    if preset not in MODEL_CARDS:
        raise CheckpointFormatError(
            f"{name}: its {CONFIG_FILE} names the unknown model {preset!r}; this version supports "
            f"{', '.join(MODEL_CARDS)}"
        )
    return preset


def load_weights(module: nn.Module, checkpoint: Checkpoint, device: torch.device) -> None:
    """Load the weights of a module built on the meta device directly to `device`.

    On the CPU they are memory-mapped, without a second copy. Other dtypes are converted to float32. Tensors that a
    subclass adds beside `model.` may be missing in the file; they stay as they are.

    Raises:
        CheckpointFormatError: the file is truncated or damaged, or tensors are missing, unexpected or of wrong shape.
    """
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    try:
        with safe_open(checkpoint.weights, framework="pt", device=str(device)) as file:
            stored = _resolve_ties(file.keys())
            shapes = {name: tuple(file.get_slice(key).get_shape()) for name, key in stored.items()}
            own = {name for name in expected if name not in shapes and not name.startswith(_NETWORK)}
            _check_names({name: shape for name, shape in expected.items() if name not in own}, shapes, checkpoint)
            state = {name: file.get_tensor(stored[name]).to(torch.float32) for name in expected if name not in own}
    except (SafetensorError, OSError) as error:
        size, cached = checkpoint.weights.stat().st_size, checkpoint.weights.is_symlink()  # the hub's cache has links
        hint = f"Delete {checkpoint.weights.resolve()} and run again" if cached else "Download or copy it again"
        raise CheckpointFormatError(
            f"{checkpoint.weights}: truncated or damaged ({error}; {size:,} bytes). {hint}"
        ) from error
    module.load_state_dict(state, strict=not own, assign=True)  # the names have been checked


def _resolve_ties(keys: Iterable[str]) -> dict[str, str]:
    """Map names in the model to names in the file."""
    stored: dict[str, str] = {}
    for key in sorted(keys):  # higher levels come later and win
        tied = _TIED.fullmatch(key)
        stored[f"{tied['head']}.0.2.{tied['leaf']}" if tied else key] = key
    return stored


def _check_names(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], checkpoint: Checkpoint
) -> None:
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "of wrong shape": [
            f"{name} {list(found[name])} instead of {list(shape)}"
            for name, shape in expected.items()
            if name in found and found[name] != shape
        ],
    }
    problems_found = []
    for kind, names in problems.items():
        if names:
            more = f", and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
            problems_found.append(f"{len(names)} {kind}: {', '.join(names[:_MAX_NAMES])}{more}")
    if problems_found:
        raise CheckpointFormatError(
            f"{checkpoint.weights} does not match the preset {checkpoint.preset} named in its {CONFIG_FILE}. "
            + ". ".join(problems_found)
        )


def save_checkpoint(module: nn.Module, preset: str, folder: str | os.PathLike[str]) -> None:
    """Write a module's weights in the official format, each file atomically.

    Raises:
        ExportError: the folder cannot be written.
    """
    target = Path(folder)
    tensors = {name: value.detach().contiguous() for name, value in module.state_dict().items()}
    with atomic_write(target / WEIGHTS_FILE) as path:
        path.touch()
        mode = path.stat().st_mode  # from the user's umask; safetensors makes the file readable by its owner only
        try:
            save_file(tensors, path, metadata={"format": "pt"})
        except SafetensorError as error:  # such as a full disk
            raise ExportError(f"{target / WEIGHTS_FILE}: cannot be written ({error})") from error
        path.chmod(mode)
    with atomic_write(target / CONFIG_FILE) as path:
        path.write_text(json.dumps({"model_name": preset}, indent=2) + "\n", encoding="utf-8")
