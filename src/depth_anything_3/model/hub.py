"""Find the files of a model on the Hugging Face hub or in its cache."""

from __future__ import annotations

import difflib
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import constants, get_session, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from depth_anything_3.errors import CheckpointNotFoundError
from depth_anything_3.model.catalog import MODEL_CARDS, DepthKind

__all__ = ["HubRepository", "find_hub_id", "why_unreachable"]

_MAX_WAIT, _MAX_WAIT_IF_CACHED = 5.0, 2.0  # seconds for the hub's first answer
_HUB_ID = re.compile(r"[A-Za-z0-9_](?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
_MAX_HUB_ID = 96  # characters
_SERVER_ERROR = 500
_COMMIT = re.compile("[0-9a-f]{40}")
_LOCAL_COPY = "pass pretrained_model_name_or_path='PATH' with the folder of a local copy"
_TRY_BUNDLED = (
    "pretrained_model_name_or_path='da3-nano' to try the small model in the package, which predicts relative depth only"
)


def find_hub_id(name: str) -> str:
    """Return the hub id that a name stands for: itself, or the preferred one of the preset that it names.

    Raises:
        CheckpointNotFoundError: it is neither.
    """
    if name in MODEL_CARDS and MODEL_CARDS[name].hub_ids:
        return MODEL_CARDS[name].hub_ids[0]
    if _HUB_ID.fullmatch(name) and len(name) <= _MAX_HUB_ID and "--" not in name and ".." not in name:
        return name
    raise CheckpointNotFoundError(
        f"{name or repr(name)}: no such folder, and not a hub id (OWNER/NAME){_suggestion(name)}; pass a folder, a hub "
        f"id such as depth-anything/DA3-BASE, or one of {', '.join(MODEL_CARDS)}"
    )


def _suggestion(name: str) -> str:
    """Suggest the known model that a name resembles; empty if there is none, or it is that one."""
    word = re.sub(r"^https?://[^/]*/", "", name.lower()).strip("/")
    hub_ids = [one for card in MODEL_CARDS.values() for one in card.hub_ids]
    if "/" in word:
        known = {one.lower(): one for one in hub_ids}
    else:
        known = {one.lower().partition("/")[2]: one for one in hub_ids} | {one: one for one in MODEL_CARDS}
    close = difflib.get_close_matches(word, known, 1, cutoff=0.75)
    return f" (did you mean {known[close[0]]!r}?)" if close and known[close[0]] != name else ""


def _offline_hint(hub_id: str) -> str:
    """Name the ways to go on without the hub; the bundled model does not replace one that predicts metres."""
    card = next((one for one in MODEL_CARDS.values() if hub_id in one.hub_ids), None)
    is_metric = card is not None and card.depth_kind is not DepthKind.RELATIVE
    return _LOCAL_COPY if is_metric else f"{_LOCAL_COPY}, or {_TRY_BUNDLED}"


@dataclass(frozen=True)
class HubRepository:
    """A repository on the hub, or what the hub's cache has of it.

    Attributes:
        hub_id: owner and name.
        revision, cache_dir, token, force_download: see `huggingface_hub`.
        why_offline: why the hub is not asked for files; None: it is.
    """

    hub_id: str
    revision: str | None = None
    cache_dir: Path | None = None
    token: str | bool | None = None
    force_download: bool = False
    why_offline: str | None = None

    def connect(self, files: Sequence[str], *, local_files_only: bool) -> HubRepository:
        """Decide whether the hub will be asked for files.

        That there is no hub is decided by one request, which waits 5 seconds, or 2 if the cache has the files;
        `HF_HUB_ETAG_TIMEOUT` overrides both. `huggingface_hub` itself would make six requests, for 20 seconds and more.
        """
        if local_files_only:
            return replace(self, why_offline="was not contacted (local_files_only=True)")
        if constants.HF_HUB_OFFLINE:
            return replace(self, why_offline="was not contacted (HF_HUB_OFFLINE is set)")
        cached = all(self._in_cache(file) for file in files)
        if cached and self.revision is not None and _COMMIT.fullmatch(self.revision):
            return self  # nothing can be newer, so the hub is not asked
        seconds = _MAX_WAIT_IF_CACHED if cached else _MAX_WAIT
        problem = why_unreachable(constants.HF_HUB_ETAG_TIMEOUT if os.environ.get("HF_HUB_ETAG_TIMEOUT") else seconds)
        return replace(self, why_offline=f"cannot be reached ({problem})") if problem else self

    def _in_cache(self, file: str) -> Path | None:
        found = try_to_load_from_cache(self.hub_id, file, cache_dir=self.cache_dir, revision=self.revision)
        return Path(found) if isinstance(found, str) else None

    def find(self, file: str) -> Path:
        """Return the path of a file in the cache, which is downloaded if the hub has a newer one.

        Raises:
            CheckpointNotFoundError: there is no such repository or file, or it cannot be downloaded.
        """
        if (
            self.why_offline is not None
        ):  # `hf_hub_download` with local_files_only may wait for the network all the same
            if self.force_download:
                raise CheckpointNotFoundError(
                    f"{self.hub_id}: force_download=True, but the hub {self.why_offline}; omit it to use the cache"
                )
            found = self._in_cache(file)
            if found is None:
                raise self._not_cached(file, self.why_offline)
            return found
        try:
            return Path(
                hf_hub_download(
                    self.hub_id,
                    file,
                    revision=self.revision,
                    cache_dir=self.cache_dir,
                    token=self.token,
                    force_download=self.force_download,
                )
            )
        except GatedRepoError:
            raise CheckpointNotFoundError(
                f"{self.hub_id}: access to the repository is restricted; log in with `hf auth login`; or pass token="
            ) from None
        except (RepositoryNotFoundError, RevisionNotFoundError):
            raise CheckpointNotFoundError(
                f"{self.hub_id}: no such folder, and no such repository or revision on the hub"
                f"{_suggestion(self.hub_id)}; check the name; for a private repository log in with `hf auth login`; "
                "or pass token="
            ) from None
        except LocalEntryNotFoundError as error:
            raise self._not_cached(file, "cannot be reached") from error
        except EntryNotFoundError:
            raise CheckpointNotFoundError(
                f"{self.hub_id}: the repository has no {file}; pass one with config.json and model.safetensors"
            ) from None
        except Exception as error:  # the hub's transports (requests, httpx, xet) have no common base class of errors
            raise CheckpointNotFoundError(
                f"{self.hub_id}: the download of {file} failed ({error}); run again"
            ) from error

    def _not_cached(self, file: str, why: str) -> CheckpointNotFoundError:
        return CheckpointNotFoundError(
            f"{self.hub_id}: no such folder, {file} is not in the hub's cache, and the hub {why}"
            f"{_suggestion(self.hub_id)}; {_offline_hint(self.hub_id)}"
        )


def why_unreachable(seconds: float) -> str | None:
    """Make one request to the hub, and wait at most this long; return why it failed, None if there was an answer."""
    problem: str | None = f"no answer from {constants.ENDPOINT} within {seconds:g} s"

    def ask() -> None:
        nonlocal problem
        try:
            status = get_session().head(constants.ENDPOINT, timeout=seconds).status_code
            problem = f"{constants.ENDPOINT}: HTTP status {status}" if status >= _SERVER_ERROR else None
        except Exception as error:  # of the library that makes the connection
            text = str(error).partition("\n")[0] or type(error).__name__
            if "timed out" not in text.lower() and "timeout" not in text.lower():
                problem = f"{constants.ENDPOINT}: {text}"

    # In a thread, because the look-up of a name has no timeout.
    asking = threading.Thread(target=ask, name="da3-hub", daemon=True)
    asking.start()
    asking.join(seconds)
    return problem
