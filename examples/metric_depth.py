"""Print the depth of an image in metres, by its EXIF block or a given field of view. Needs a metric model.

python examples/metric_depth.py phone.jpg
python examples/metric_depth.py cropped.png --fov 68
"""

import argparse

from depth_anything_3 import DepthAnything3
from depth_anything_3.errors import InvalidInputError


def main() -> None:
    """Read the arguments, compute depth, and convert it to metres."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image")
    parser.add_argument("--fov", type=float, help="horizontal field of view in degrees; default: by the EXIF block")
    parser.add_argument("--model-dir", default="depth-anything/DA3METRIC-LARGE")
    args = parser.parse_args()

    model = DepthAnything3.from_pretrained(args.model_dir)
    prediction = model.depth(args.image)
    try:
        depth_m = prediction.metric_depth(fov=args.fov)[0]  # (H, W) float32, metres
    except InvalidInputError as error:
        raise SystemExit(str(error)) from None
    lens = prediction.focal_length(fov=args.fov)
    height, width = depth_m.shape
    print(f"focal length: {lens.pixels[0]:.0f} px at {width}x{height}, from {lens.origins[0]}")
    print(f"depth: {depth_m.min():.2f} to {depth_m.max():.2f} m, centre {depth_m[height // 2, width // 2]:.2f} m")


if __name__ == "__main__":
    main()
