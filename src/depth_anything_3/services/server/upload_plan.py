"""Check the sizes of an uploaded image by its header, before a pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from depth_anything_3.errors import DA3Error, ImageSizeError, InvalidInputError
from depth_anything_3.inputs.header import ImageHeader, probe
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.pillow_open import JPEG_START
from depth_anything_3.inputs.plan.resize_plan import plan_resize
from depth_anything_3.inputs.png_header import PNG_START
from depth_anything_3.services.server.problems import Problem, problem_of
from depth_anything_3.services.server.settings import ServerSettings
from depth_anything_3.services.server.uploads import Upload

__all__ = ["PlannedUpload", "plan_upload"]

_NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class PlannedUpload:
    """What is known of an image before it is decoded.

    Attributes:
        header: from its file.
        network_hw: (height, width) of the network's input.
    """

    header: ImageHeader
    network_hw: tuple[int, int]

    @property
    def pixels(self) -> int:
        """Number of pixels of the file."""
        return self.header.stored_hw[0] * self.header.stored_hw[1]


def plan_upload(
    upload: Upload, settings: ServerSettings, preprocess: PreprocessOptions, *, at_input_size: bool = False
) -> PlannedUpload:
    """Read the header of an image and check it against the limits of the server.

    Args:
        upload: the file.
        settings: limits.
        preprocess: options of the request.
        at_input_size: whether the result has the size of the image.

    Raises:
        Problem: 413 (too many pixels), 415 (not an image), 422 (a damaged header).
        InvalidInputError: the input of the network, or the result, would be too large.
    """
    name = upload.name
    try:
        header = probe(upload.data, name, _NO_LIMIT)
    except ImageSizeError:
        raise
    except DA3Error as error:
        known = upload.data.startswith((JPEG_START, PNG_START))
        raise problem_of(error, at_header=not known) from error
    height, width = header.stored_hw
    if height * width > settings.max_pixels:
        detail = f"{name}: {width}x{height} pixels, more than {settings.max_pixels:,}, the limit of this server"
        raise Problem(413, "too-many-pixels", detail, "ImageSizeError")
    plan = plan_resize(
        header.stored_hw,
        preprocess.bounded_px,
        preprocess.process_res_method,
        exif_orientation=header.exif_orientation,
    )
    rows, columns = plan.result_hw
    if rows * columns > settings.max_network_pixels:
        raise InvalidInputError(
            f"process_res={preprocess.process_res}: {columns}x{rows} pixels for the network, and this server computes "
            f"at most {settings.max_network_pixels:,}; ask for a smaller process_res"
        )
    if at_input_size and height * width > settings.max_output_pixels:
        raise InvalidInputError(
            f"output_size='input': {width}x{height} pixels, and this server returns at most "
            f"{settings.max_output_pixels:,}; ask for output_size=network"
        )
    return PlannedUpload(header, (rows, columns))
