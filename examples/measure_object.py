"""Measure the distance in metres between two pixels of an image. Needs a metric model.

python examples/measure_object.py phone.jpg --from 812 2031 --to 1455 2040
python examples/measure_object.py cropped.png --from 40 300 --to 220 310 --focal 1450

The pixels are column and row in the upright image, on the object and not on its edge. The range is what the depth of
neighbouring pixels allows. A wrong focal length or an error of the model in the whole image adds to it: measure
something of known size beside the object.
"""

import argparse

import numpy as np

from depth_anything_3 import DepthAnything3, Prediction
from depth_anything_3.errors import DA3Error


def rays_and_depths(
    prediction: Prediction, depth_m: np.ndarray, camera: np.ndarray, pixel: tuple[float, float], radius: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ray (3,) of a pixel of the source image, and the depths (K,) of its neighbourhood in metres."""
    source_height, source_width = prediction.source_hw[0]
    if not (0 <= pixel[0] < source_width and 0 <= pixel[1] < source_height):
        raise SystemExit(f"pixel {pixel}: the image has {source_width}x{source_height} pixels")
    rows, columns = prediction.source_scale[0]
    x, y = (pixel[0] + 0.5) * columns, (pixel[1] + 0.5) * rows  # in the network's input
    ray = np.linalg.inv(camera) @ (x, y, 1.0)
    top, left = max(int(y) - radius, 0), max(int(x) - radius, 0)
    around = depth_m[top : int(y) + radius + 1, left : int(x) + radius + 1]
    return ray, around[np.isfinite(around) & (around > 0)]


def main() -> None:
    """Read the arguments, compute metric depth, and print the distance with its range."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    for name in ("from", "to"):
        parser.add_argument(f"--{name}", type=float, nargs=2, required=True, metavar=("COLUMN", "ROW"), dest=name)
    parser.add_argument("--focal", type=float, help="focal length in pixels of the image; default: by the EXIF block")
    parser.add_argument("--fov", type=float, help="horizontal field of view in degrees, instead of --focal")
    parser.add_argument("--radius", type=int, default=2, help="of the neighbourhood, in pixels of the network's input")
    parser.add_argument("--model-dir", default="depth-anything/DA3METRIC-LARGE")
    args = parser.parse_args()
    try:
        (prediction,) = DepthAnything3.from_pretrained(args.model_dir).depth([args.image])
        depth_m = prediction.metric_depth(args.focal, fov=args.fov)[0]  # (H, W) float32, metres
        lens = prediction.focal_length(args.focal, fov=args.fov)
    except DA3Error as error:
        raise SystemExit(str(error)) from None
    camera = prediction.centred_intrinsics(lens)[0].astype(np.float64)
    ends = []
    for name in ("from", "to"):
        ray, depths = rays_and_depths(prediction, depth_m, camera, tuple(getattr(args, name)), args.radius)
        if not len(depths):
            raise SystemExit(f"--{name}: no depth there; it may be sky")
        print(f"{name:>4}: depth {np.median(depths):.3f} m, {depths.min():.3f} to {depths.max():.3f} m around it")
        ends.append(ray * depths[:, None])
    distances = np.linalg.norm(ends[0][:, None] - ends[1][None], axis=-1)  # every pair of neighbours
    low, middle, high = np.percentile(distances, (16, 50, 84))
    print(f"focal length: {lens.pixels[0]:.0f} px of the network's input, from {lens.origins[0]}")
    print(f"distance: {middle:.3f} m, {low:.3f} to {high:.3f} m (16th to 84th percentile)")


if __name__ == "__main__":
    main()
