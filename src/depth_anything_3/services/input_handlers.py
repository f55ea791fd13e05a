"""Kept for clients of upstream: handlers that turn a path into a list of images."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.export.colmap import find_sparse_model, given_cameras, pair_images, read_sparse_model
from depth_anything_3.inputs.choices import Exif
from depth_anything_3.inputs.discover import find_images
from depth_anything_3.inputs.header import probe
from depth_anything_3.inputs.image_source import read_file
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.video import FrameSelection
from depth_anything_3.jobs.manifest import Manifest
from depth_anything_3.jobs.video.frames import extract_frames

__all__ = ["ColmapHandler", "ImageHandler", "ImagesHandler", "InputHandler", "VideoHandler", "parse_export_feat"]

logger = logging.getLogger(__name__)

_EXTENSIONS = "png,jpg,jpeg"  # upstream's


class InputHandler:
    """Checks paths and prepares export folders."""

    @staticmethod
    def validate_path(path: str | os.PathLike[str], path_type: str = "file") -> str:
        """Return a path that exists.

        Args:
            path: of a file or folder.
            path_type: what it is, for the message.

        Raises:
            InvalidInputError: it does not exist.
        """
        if not os.path.exists(path):
            raise InvalidInputError(f"{os.fspath(path)}: no such {path_type}")
        return os.fspath(path)

    @staticmethod
    def handle_export_dir(export_dir: str | os.PathLike[str], auto_cleanup: bool = False) -> str:
        """Create an export folder and return it.

        Args:
            export_dir: the folder.
            auto_cleanup: remove the results that its manifest lists; other files stay, with a warning. Upstream
                removes the whole folder, and without `auto_cleanup` asks whether to.

        Raises:
            InvalidInputError: the manifest is damaged, or `export_dir` is a file.
        """
        folder = Path(export_dir)
        if folder.exists() and not folder.is_dir():
            raise InvalidInputError(f"{folder}: is a file; give a folder")
        folder.mkdir(parents=True, exist_ok=True)
        if auto_cleanup:
            Manifest(folder).remove_results()
            if left := sorted(one.name for one in folder.iterdir()):
                logger.warning("%s: kept %s, which no manifest lists as results", folder, ", ".join(left[:5]))
        return os.fspath(export_dir)


class ImageHandler(InputHandler):
    """Handles one image."""

    @staticmethod
    def process(image_path: str | os.PathLike[str]) -> list[str]:
        """Return the path in a list.

        Raises:
            InvalidInputError: it does not exist.
        """
        return [InputHandler.validate_path(image_path, "image")]


class ImagesHandler(InputHandler):
    """Handles a folder of images."""

    @staticmethod
    def process(images_dir: str | os.PathLike[str], image_extensions: str = _EXTENSIONS) -> list[str]:
        """Return the paths of the images in a folder, sorted by name; hidden files are skipped.

        Raises:
            InvalidInputError: it is not a folder, or has no images.
        """
        if not os.path.isdir(images_dir):
            raise InvalidInputError(f"{os.fspath(images_dir)}: no such folder of images")
        return [str(one) for one in find_images([os.fspath(images_dir)], image_extensions)]


class VideoHandler(InputHandler):
    """Handles a video."""

    @staticmethod
    def process(video_path: str | os.PathLike[str], output_dir: str | os.PathLike[str], fps: float = 1.0) -> list[str]:
        """Write frames to `input_images` in the output folder, and return their paths.

        Args:
            video_path: of the video.
            output_dir: created if missing.
            fps: frames per second, chosen by their times; upstream takes every n-th frame.

        Raises:
            VideoReadError: the video cannot be opened, is damaged, or has no frames.
            ExportError: a file cannot be written.
        """
        folder = Path(output_dir)
        paths = extract_frames(os.fspath(video_path), folder / "input_images", FrameSelection(fps=fps))
        Manifest(folder).add_results(paths)  # they are not input of later runs
        return [str(one) for one in paths]


class ColmapHandler(InputHandler):
    """Handles a COLMAP workspace."""

    @staticmethod
    def process(
        colmap_dir: str | os.PathLike[str], sparse_subdir: str = ""
    ) -> tuple[list[str], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return images with a pose, and their cameras, for `inference`.

        Args:
            colmap_dir: folder with `images` and a sparse model.
            sparse_subdir: folder of the sparse model; see `export.colmap.find_sparse_model`.

        Returns:
            N paths, (N, 4, 4) world-to-camera poses and (N, 3, 3) intrinsics in pixels of the upright images.

        Raises:
            InvalidInputError: the folder has no images or no sparse model, or they do not match.
            UnsupportedError: the sparse model was made from images without their EXIF orientation, so that
                `inference` would apply it; use `da3 colmap`.
        """
        folder = Path(colmap_dir)
        model = read_sparse_model(find_sparse_model(folder, sparse_subdir or None))
        images = folder / "images"
        pairing = pair_images(model, find_images([str(images)], recursive=True), images)
        if pairing.without_pose or pairing.without_image:
            logger.warning(
                "skipped %d image(s) without a pose, %d pose(s) without an image",
                len(pairing.without_pose),
                len(pairing.without_image),
            )
        exif, intrinsics = given_cameras(pairing)
        if Exif(exif) is Exif.IGNORE and _is_oriented(pairing.paths):
            raise UnsupportedError(
                f"{folder}: its sparse model ignores the EXIF orientation of the images, which inference applies; use "
                "da3 colmap, which decides"
            )
        return [str(one) for one in pairing.paths], pairing.extrinsics, intrinsics


def parse_export_feat(export_feat: str) -> list[int]:
    """Parse numbers of layers, joined with commas, such as "5,11"; an empty text gives an empty list.

    Raises:
        InvalidInputError: one is not a number.
    """
    try:
        return [int(one) for one in export_feat.split(",") if one.strip()]
    except ValueError:
        raise InvalidInputError(f"export_feat={export_feat!r}: give numbers of layers, such as '5,11'") from None


def _is_oriented(paths: tuple[Path, ...]) -> bool:
    """Whether an image has an EXIF orientation that changes it."""
    limits = PreprocessOptions()
    headers = (probe(read_file(path, limits.max_bytes), str(path), limits.max_pixels) for path in paths)
    return any(header.exif_orientation != 1 for header in headers)
