"""Keyword arguments with which clients of upstream build, load and save a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, TypedDict, cast

import torch

from depth_anything_3.inference.backends.backend import BackendName, BackendNameText
from depth_anything_3.model.checkpoint import HubKwargs

__all__ = ["LoadKwargs", "ModelKwargs", "SaveKwargs", "parse_load_kwargs", "warn_of_unused"]

logger = logging.getLogger(__name__)

_HINTS = {
    "config": "the network is that of model_name",
    "strict": "the weights must always match",
    "proxies": "set HTTPS_PROXY",
    "resume_download": "downloads are always resumed",
}


class ModelKwargs(TypedDict, total=False):
    """Keyword arguments of `DepthAnything3`, beside `model_name`.

    `device` moves the weights. `config`, a key of the official `config.json`, and `use_cache` have no effect.
    """

    config: Mapping[str, object] | None
    device: str | torch.device | None
    use_cache: bool


class LoadKwargs(HubKwargs, total=False):
    """Keyword arguments of `DepthAnything3.from_pretrained`.

    `backend` is what computes the network. `map_location` is another name of `device`. `strict`, `proxies`,
    `resume_download`, `config` and `use_cache` have no effect.
    """

    backend: BackendName | BackendNameText | None
    map_location: str | torch.device | None
    strict: bool
    proxies: Mapping[str, str] | None
    resume_download: bool | None
    config: Mapping[str, object] | None
    use_cache: bool


class SaveKwargs(TypedDict, total=False):
    """Keyword arguments of `DepthAnything3.save_pretrained` that have no effect; `push_to_hub=True` is refused."""

    config: Mapping[str, object] | None
    repo_id: str | None
    push_to_hub: bool
    model_card_kwargs: Mapping[str, object] | None


def warn_of_unused(caller: str, given: Mapping[str, object]) -> None:
    """Log one warning that names the arguments that have no effect; those that are None or False are not named."""
    names = [name for name, value in given.items() if value is not None and value is not False]
    if names:
        reasons = [f"{name} ({_HINTS[name]})" if name in _HINTS else name for name in names]
        logger.warning("%s: no effect here: %s", caller, ", ".join(reasons))


def parse_load_kwargs(given: Mapping[str, Any]) -> tuple[HubKwargs, dict[str, Any]]:  # Any: values of different types
    """Return the keyword arguments of `from_pretrained` for the hub, and those that `LoadKwargs` does not name.

    A warning names those without effect.
    """
    hub = {name: value for name, value in given.items() if name in HubKwargs.__annotations__}
    own = {name: value for name, value in given.items() if name not in LoadKwargs.__annotations__}
    used = {"backend", "map_location", *hub, *own}
    warn_of_unused("from_pretrained()", {name: given[name] for name in given if name not in used})
    return cast(HubKwargs, hub), own
