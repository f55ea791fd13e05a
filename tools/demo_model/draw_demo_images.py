"""Draw the images that `da3 demo` reads, with their true depth.

    uv run python tools/demo_model/draw_demo_images.py           # into the package, about 40 s on two cores
    uv run python tools/demo_model/draw_demo_images.py FOLDER

Each scene becomes `NAME.jpg` (4K, quality 90, focal length in the EXIF block) and `depth_png/NAME.png`: the true depth
along the optical axis at an eighth of the size, in the format of `--export-format depth_png`. The 16-bit value times
`depth_scale` (a text entry) is the depth in metres; 0 is sky.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

from PIL import ExifTags, Image

from depth_anything_3.export.formats import depth_png
from depth_anything_3.export.image_file import write_image
from depth_anything_3.prediction import Prediction
from scenes import Atlas, make_atlas, render_large

__all__ = ["DEPTH_STEP", "FOLDER", "SCENES", "SIZE", "draw_demo_image", "main"]

SCENES: Mapping[str, int] = {"street": 1_000_000_007, "table": 1_000_000_005, "hall": 1_000_000_022}
"""Seeds of the scenes, chosen for the places they show; the demonstration model was trained on none of them."""

SIZE = (2160, 3840)
"""(height, width) of the images in pixels."""

DEPTH_STEP = 8
"""Stride in pixels at which the true depth is stored."""

FOLDER = Path(__file__).parents[2] / "src" / "depth_anything_3" / "jobs" / "demo_images"

_QUALITY = 90
_SENSOR_WIDTH_MM = 36.0


def draw_demo_image(name: str, folder: Path, atlas: Atlas, size: tuple[int, int] = SIZE) -> tuple[Path, ...]:
    """Render one of `SCENES`.

    Args:
        name: of the scene.
        folder: where to write.
        atlas: the textures.
        size: (height, width) in pixels.

    Returns:
        The paths of the JPEG and of the depth PNG.

    Raises:
        ExportError: a file cannot be written.
    """
    drawn = render_large(SCENES[name], size, atlas)
    exif = _lens_exif(float(drawn.intrinsics[0, 0, 0]), size[1])
    image = drawn.image[0].permute(1, 2, 0).numpy()
    jpeg = write_image(folder / f"{name}.jpg", image, "JPEG", quality=_QUALITY, exif=exif)
    depth = drawn.depth[0, DEPTH_STEP // 2 :: DEPTH_STEP, DEPTH_STEP // 2 :: DEPTH_STEP].numpy()
    return jpeg, *depth_png.write(Prediction(depth=depth[None], is_metric=1), folder, name, depth_png.DepthPngOptions())


def _lens_exif(focal_px: float, width: int) -> bytes:
    """Make an EXIF block with a focal length in pixels, more precise than the integer 35 mm equivalent."""
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = "depth-anything-3-fast, tools/demo_model"
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {
            ExifTags.Base.FocalLength: focal_px * _SENSOR_WIDTH_MM / width,
            ExifTags.Base.FocalPlaneXResolution: width / _SENSOR_WIDTH_MM,
            ExifTags.Base.FocalPlaneResolutionUnit: 4,  # millimetres
        }
    )
    return exif.tobytes()


def main() -> None:
    """Draw all images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    folder = parser.parse_args().folder
    atlas = make_atlas()
    for name in SCENES:
        began = time.perf_counter()
        files = draw_demo_image(name, folder, atlas)
        sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.2f} MB" for path in files)
        print(f"{sizes}, {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
