"""Recognise still images that are given as videos."""

from __future__ import annotations

from pathlib import Path

from depth_anything_3.inputs.discover import IMAGE_EXTENSIONS

__all__ = ["HEAD_BYTES", "has_still_brand", "is_animated_webp", "is_still_image"]

HEAD_BYTES = 1024
"""Bytes of a file's beginning that these functions look at."""

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")
"""Major brands of HEIF and AVIF images. FFmpeg would return one of an image's tiles; sequences have other brands."""


def has_still_brand(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a HEIF or AVIF image."""
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS


def is_animated_webp(head: bytes) -> bool:
    """Whether a file that begins with these bytes is an animated WebP."""
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20:21] and head[20] & 2)


def is_still_image(name: str, container: str) -> bool:
    """Whether a file holds one image, by its name and FFmpeg's name of its container.

    FFmpeg reads single images as streams of images. Such a stream with another extension, as of motion JPEG, is a
    video. Further images in a JPEG are previews and gain maps, no frames. Animated GIF and PNG files have containers of
    their own.
    """
    is_stream = container == "image2" or container.endswith("_pipe")
    return is_stream and Path(name).suffix.lower().lstrip(".") in IMAGE_EXTENSIONS.split(",")
