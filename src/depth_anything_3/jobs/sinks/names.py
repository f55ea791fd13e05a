"""Make file names and webdataset keys of ids, which may be anything."""

from __future__ import annotations

import hashlib
import re

__all__ = ["file_name", "tar_key"]

_MAX_BYTES = 180  # of a part; file systems allow 255
_UNSAFE = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|\ud800-\udfff]')


def file_name(id: str) -> str:
    """Return a relative path without suffix: the id, if that is safe; else what is safe of it, and a hash of it.

    It never leads out of its folder, and works on every file system. Different ids get different names.
    """
    parts = []
    for part in id.split("/"):
        safe = _UNSAFE.sub("_", part)
        safe = f"_{safe.lstrip('.')}" if safe.startswith(".") else safe  # hidden, and "." and ".."
        parts.append(safe.encode()[:_MAX_BYTES].decode(errors="ignore").rstrip(". "))
    name = "/".join(one for one in parts if one)
    return name if name == id and name else f"{name or 'image'}~{_hash(id)}"


def tar_key(id: str) -> str:
    """Return the key of a sample in a tar: as `file_name`, without dots, at the first of which the key ends.

    The dots of an id become underscores. If that is all that changes, no hash is added: the JSON member has the id.
    """
    return file_name(id).replace(".", "_")


def _hash(id: str) -> str:
    return hashlib.sha256(id.encode(errors="surrogatepass")).hexdigest()[:8]
