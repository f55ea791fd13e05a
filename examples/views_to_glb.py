"""Write points and cameras of several views of one scene as a glTF file. Needs a model that predicts cameras.

python examples/views_to_glb.py left.jpg right.jpg --output scene/
"""

import argparse

from depth_anything_3 import DepthAnything3


def main() -> None:
    """Read the arguments, compute depth and cameras, and write `scene.glb`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("views", nargs="+")
    parser.add_argument("--output", default="scene")
    parser.add_argument("--model-dir", default="depth-anything/DA3-BASE")
    args = parser.parse_args()

    model = DepthAnything3.from_pretrained(args.model_dir)
    scene = model.inference(args.views, export_dir=args.output, export_format="glb")
    print(f"{args.output}/scene.glb: {len(scene.depth)} views")
    for name, pose, camera in zip(scene.sources, scene.extrinsics, scene.intrinsics, strict=True):
        centre = -pose[:, :3].T @ pose[:, 3]  # world-to-camera, OpenCV axes
        print(f"{name}: focal length {camera[0, 0]:.0f} px, camera centre {centre.round(3)}")


if __name__ == "__main__":
    main()
