"""Read the pixels, orientation and lens of a PIL image, the same as those of its file."""

from __future__ import annotations

import io
from contextlib import nullcontext
from dataclasses import replace

from PIL import Image, ImageFile

from depth_anything_3.errors import DA3Error
from depth_anything_3.inputs.decode.cpu.pillow import pixels_of, stored_pixels, truncated_allowed
from depth_anything_3.inputs.decode.cpu.tiff import decode_page
from depth_anything_3.inputs.exif import ORIENTATION, Metadata, as_orientation, read_orientation
from depth_anything_3.inputs.image_source import ImageInput, ImageSource, PilImage, as_source
from depth_anything_3.inputs.metadata import (
    info_metadata,
    jpeg2000_metadata,
    jpeg_metadata,
    orientation_in_format,
    png_metadata,
    tiff_metadata,
)
from depth_anything_3.inputs.tiff_pages import find_pages, is_tiff
from depth_anything_3.inputs.yuv_planes import YuvPlanes

__all__ = ["decoded_here", "read_pil_image"]


def read_pil_image(image: Image.Image, label: str) -> PilImage:
    """Decode a PIL image, if that is not done yet, and find its orientation and lens.

    An orientation that was set or removed by `image.getexif()` or `ImageOps.exif_transpose` counts. Pillow applies the
    orientation of a TIFF when it loads it, so the pixels of a loaded TIFF are upright and the stored ones are lost.

    Raises:
        ImageDecodeError: the image is truncated or damaged, or its samples have no fixed range.
        ImageSizeError: the image has no pixels.
    """
    if image.format == "TIFF":
        return _read_tiff(image, label)
    if image.format == "JPEG2000" and "exif" not in image.info:
        # Pillow ignores these boxes, and the file is gone once the image is loaded.
        boxes = jpeg2000_metadata(_file_of(image))
        image.info.update({key: block for key, block in (("exif", boxes.exif), ("xmp", boxes.xmp)) if block})
    pixels = pixels_of(image, label)  # first, because metadata may follow the pixels of a PNG
    metadata = _of_jpeg(image) or info_metadata(image.info)
    if image.format == "PNG" and getattr(image, "is_animated", False) and metadata == Metadata():
        metadata = png_metadata(_read_file(image))  # Pillow has not read what follows the first frame
    return PilImage(pixels, _orientation(image, metadata), metadata.with_lens())


def decoded_here(image: ImageInput | ImageSource, index: int, *, allow_truncated: bool) -> ImageInput | ImageSource:
    """Replace what cannot be pickled by its pixels or the error, for a worker process: PIL images and planes.

    Pickled, a PIL image would lose its orientation and lens, or raise any error of Pillow's.
    """
    if isinstance(image, ImageSource) and isinstance(image.data, YuvPlanes):
        try:
            return replace(image, data=image.data.rgb)
        except DA3Error as error:
            return replace(image, data=error)
    if not isinstance(image, Image.Image):
        return image
    label = as_source(image, index).label
    try:
        with truncated_allowed() if allow_truncated else nullcontext():
            return ImageSource(label, read_pil_image(image, label))
    except DA3Error as error:
        return ImageSource(label, error)


def _read_tiff(image: Image.Image, label: str) -> PilImage:
    metadata, shown = tiff_metadata(image), _shown_by_pillow(image)
    data = _file_of(image)
    if not data:  # loaded
        return PilImage(pixels_of(image, label), as_orientation(shown) or 1, metadata.with_lens())
    pages = find_pages(data) if is_tiff(data) else []
    # Another image is loaded, so that the caller's remains as it is and every call has the same result.
    with Image.open(io.BytesIO(data), formats=["TIFF"]) as stored:
        stored.seek(image.tell())
        orientation = metadata.orientation if shown == _shown_by_pillow(stored) else as_orientation(shown) or 1
        if image.tell() == 0 and pages:  # Pillow mixes up planes of 16 bits, and does not scale 12 bits
            pixels = decode_page(pages[0], label, allow_truncated=bool(ImageFile.LOAD_TRUNCATED_IMAGES)).pixels
        else:
            pixels = stored_pixels(stored, label)
        return PilImage(pixels, orientation, metadata.with_lens())


def _file_of(image: Image.Image) -> bytes:
    """Return the bytes of the file of an image that is not loaded yet; empty if it is loaded or not of a file."""
    return _read_file(image) if isinstance(image, ImageFile.ImageFile) and image.tile else b""


def _read_file(image: Image.Image) -> bytes:
    file = getattr(image, "fp", None) or getattr(image, "_fp", None)  # the second of an animation between frames
    if file is None or not hasattr(file, "closed") or file.closed:
        return b""
    position = file.tell()
    file.seek(0)
    data: bytes = file.read()
    file.seek(position)
    return data


def _of_jpeg(image: Image.Image) -> Metadata | None:
    """Return the metadata of a JPEG by its segments, if Pillow and the caller have left them as they are."""
    segments = [content for name, content in getattr(image, "applist", ()) if name == "APP1"]
    metadata = jpeg_metadata(segments)
    unchanged = metadata.exif == image.info.get("exif", b"") and metadata.xmp.startswith(image.info.get("xmp", b""))
    return metadata if segments and unchanged else None


def _orientation(image: Image.Image, metadata: Metadata) -> int:
    plain = Image.new("1", (1, 1))
    plain.info = dict(image.info)
    intact = _is_intact(plain)
    shown = _shown_by_pillow(image)
    if shown != _shown_by_pillow(plain):  # the caller has changed it
        return as_orientation(shown) or 1
    removed = intact and shown is None and metadata.exif and read_orientation(metadata.exif) is None
    # Pillow does not see every orientation in XMP, nor does it remove those when it makes an image upright.
    return 1 if removed and _of_jpeg(image) is None else orientation_in_format(image.format, metadata)


def _is_intact(image: Image.Image) -> bool:
    try:
        image.getexif()
    except Exception:  # Pillow raises almost anything on damaged blocks
        return False
    return True


def _shown_by_pillow(image: Image.Image) -> object:
    """Return the orientation in what Pillow could read of the Exif block; it raises only the first time."""
    _is_intact(image)
    return image.getexif().get(ORIENTATION) if _is_intact(image) else None
