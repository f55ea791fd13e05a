"""Write the depth of one image as a coloured PNG.

python examples/image_to_png.py photo.jpg depth.png
"""

import argparse

from depth_anything_3 import DepthAnything3


def main() -> None:
    """Read the arguments, compute depth, and save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image")
    parser.add_argument("output", nargs="?", default="depth.png")
    parser.add_argument("--model-dir", default="depth-anything/DA3-BASE")
    args = parser.parse_args()

    model = DepthAnything3.from_pretrained(args.model_dir)
    prediction = model.inference([args.image])
    depth = prediction.depth[0]  # (H, W) float32, at the network's resolution
    prediction.save(args.output, "depth_color")
    print(f"{args.output}: {depth.shape[1]}x{depth.shape[0]}, depth {depth.min():.2f} to {depth.max():.2f}")


if __name__ == "__main__":
    main()
