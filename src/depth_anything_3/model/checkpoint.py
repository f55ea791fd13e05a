"""A hub id or folder in, a model's weights out, and back: `config.json` beside `model.safetensors`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from depth_anything_3.errors import CheckpointFormatError, CheckpointNotFoundError, ExportError
from depth_anything_3.model.catalog import MODEL_CARDS
from depth_anything_3.runtime.atomic_file import atomic_write

__all__ = ["Checkpoint", "find_checkpoint", "load_weights", "save_checkpoint"]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_DEFAULT_PRESET = "da3-large"
_IN_THE_PACKAGE = Path(__file__).parent / "weights"  # a folder for each model whose weights come with the package
_NAMES_SHOWN = 10

# One layer norm serves four levels. Files hold it under level 0; where one holds several, the highest level counts.
_TIED = re.compile(r"(?P<head>.*\.scratch\.output_conv2_aux)\.(?P<level>[123])\.2\.(?P<leaf>weight|bias)")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk.

    Attributes:
        name: as the caller asked for it.
        preset: name of the network it belongs to.
        weights: the file with the tensors.
    """

    name: str
    preset: str
    weights: Path


def find_checkpoint(
    name: str | os.PathLike[str],
    *,
    local_files_only: bool = False,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
) -> Checkpoint:
    """Find a checkpoint in a folder, in the package, in the hub's cache, or on the hub (with a progress bar).

    Args:
        name: a folder, the name of a model whose weights come with the package ("da3-nano"), or a hub id such as
            "depth-anything/DA3-BASE"; in this order, so a folder of yours wins.
        local_files_only: take it from the cache only.
        revision, cache_dir, token: as for `huggingface_hub`.

    Raises:
        CheckpointNotFoundError: no such folder or repository, a file missing in it, or the hub out of reach.
        CheckpointFormatError: `config.json` cannot be understood, or names a network that this version cannot build.
    """
    name = os.fspath(name)
    local = os.path.expanduser(name)
    folder = Path(local)
    if not os.path.exists(local) and name in MODEL_CARDS and MODEL_CARDS[name].is_demonstration:
        folder = _IN_THE_PACKAGE / name
    if os.path.isdir(folder):
        for file in (CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / file).is_file():
                raise CheckpointNotFoundError(f"{folder}: the folder has no {file}; a checkpoint needs both files")
        return Checkpoint(name, _read_preset(folder / CONFIG_FILE, name), folder / WEIGHTS_FILE)
    if os.path.exists(local):
        raise CheckpointNotFoundError(f"{name}: is a file; give the folder that holds it and its {CONFIG_FILE}")
    if name in MODEL_CARDS:
        hub_ids = " or ".join(MODEL_CARDS[name].hub_ids)
        raise CheckpointNotFoundError(f"{name}: no such folder; the weights of this model are {hub_ids}")
    fetch = partial(
        hf_hub_download,
        local_files_only=local_files_only,
        revision=revision,
        cache_dir=None if cache_dir is None else Path(cache_dir),
        token=token,
    )
    asked = "was not asked (local_files_only)" if local_files_only else "cannot be reached"
    # In this order, so that a network that cannot be built costs no gigabytes.
    preset = _read_preset(_download(fetch, name, CONFIG_FILE, asked), name)
    return Checkpoint(name, preset, _download(fetch, name, WEIGHTS_FILE, asked))


def _download(fetch: Callable[[str, str], str], name: str, file: str, asked: str) -> Path:
    try:
        return Path(fetch(name, file))
    except HFValidationError:
        raise CheckpointNotFoundError(
            f"{name}: no such folder, and no hub id either (those look like depth-anything/DA3-BASE)"
        ) from None
    except GatedRepoError:
        raise CheckpointNotFoundError(
            f"{name}: access is restricted; log in with `hf auth login` or pass token="
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise CheckpointNotFoundError(
            f"{name}: no such folder, and no such repository or revision on the hub (or it is private: pass token=)"
        ) from None
    except LocalEntryNotFoundError as error:
        raise CheckpointNotFoundError(
            f"{name}: {file} is neither a local folder's nor in the hub's cache, and the hub {asked}. Check the "
            "network and HF_HUB_OFFLINE, or copy the checkpoint's folder here and give its path"
        ) from error
    except EntryNotFoundError:
        raise CheckpointNotFoundError(
            f"{name}: the repository has no {file}; it is not a checkpoint of this kind"
        ) from None
    except Exception as error:  # the hub's transports (requests, httpx, xet) have no base class of errors in common
        raise CheckpointNotFoundError(f"{name}: the download of {file} failed ({error}); run it again") from error


def _read_preset(config: Path, name: str) -> str:
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        preset = content.get("model_name", _DEFAULT_PRESET)
        if not isinstance(preset, str):
            raise ValueError(f"model_name is {preset!r}")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointFormatError(f"{name}: its {CONFIG_FILE} cannot be understood ({error})") from error
    if preset not in MODEL_CARDS:
        raise CheckpointFormatError(
            f"{name}: its {CONFIG_FILE} names the network {preset!r}; this version builds {', '.join(MODEL_CARDS)}"
        )
    return preset


def load_weights(module: nn.Module, checkpoint: Checkpoint, device: torch.device) -> None:
    """Give a module built on the meta device its weights, each read once and straight to `device`.

    On the CPU they stay backed by the file, page by page, so there is no second copy. Other dtypes become float32.

    Raises:
        CheckpointFormatError: the file is truncated or damaged, or names are missing, unexpected or misshapen.
    """
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    try:
        with safe_open(checkpoint.weights, framework="pt", device=str(device)) as file:
            stored = _resolve_ties(file.keys())
            shapes = {name: tuple(file.get_slice(key).get_shape()) for name, key in stored.items()}
            _check_names(expected, shapes, checkpoint)
            state = {name: file.get_tensor(stored[name]).to(torch.float32) for name in expected}
    except (SafetensorError, OSError) as error:
        size, cached = checkpoint.weights.stat().st_size, checkpoint.weights.is_symlink()  # as the hub's cache has them
        hint = f"Remove {checkpoint.weights.resolve()} and run it again" if cached else "Download or copy it again"
        raise CheckpointFormatError(
            f"{checkpoint.weights}: truncated or damaged ({error}; {size:,} bytes). {hint}"
        ) from error
    module.load_state_dict(state, assign=True)


def _resolve_ties(keys: Iterable[str]) -> dict[str, str]:
    """Name in the model -> name in the file."""
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
        "misshapen": [
            f"{name} {list(found[name])} instead of {list(shape)}"
            for name, shape in expected.items()
            if name in found and found[name] != shape
        ],
    }
    problems_found = []
    for kind, names in problems.items():
        if names:
            more = f", and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            problems_found.append(f"{len(names)} {kind}: {', '.join(names[:_NAMES_SHOWN])}{more}")
    if problems_found:
        raise CheckpointFormatError(
            f"{checkpoint.weights} does not fit the preset {checkpoint.preset} named in its {CONFIG_FILE}. "
            + ". ".join(problems_found)
        )


def save_checkpoint(module: nn.Module, preset: str, folder: str | os.PathLike[str]) -> None:
    """Write a module's weights in the official format; each file appears whole or not at all.

    Raises:
        ExportError: the folder cannot be written.
    """
    target = Path(folder)
    tensors = {name: value.detach().contiguous() for name, value in module.state_dict().items()}
    with atomic_write(target / WEIGHTS_FILE) as path:
        path.touch()
        mode = path.stat().st_mode  # what the user's umask makes of it; safetensors leaves it to its owner alone
        try:
            save_file(tensors, path, metadata={"format": "pt"})
        except SafetensorError as error:  # its name for a full disk
            raise ExportError(f"{target / WEIGHTS_FILE}: cannot be written ({error})") from error
        path.chmod(mode)
    with atomic_write(target / CONFIG_FILE) as path:
        path.write_text(json.dumps({"model_name": preset}, indent=2) + "\n", encoding="utf-8")
