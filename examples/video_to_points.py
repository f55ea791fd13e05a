"""Write coloured points of a video, one frame a second. Needs the extra `video`.

python examples/video_to_points.py clip.mp4 --output points/

With a model that predicts cameras, the frames are views of one scene, and their points are merged in one file. Other
models, such as da3-nano, know no cameras: each frame gets a file in its own camera's frame. Its field of view is
assumed, and depth has a unit of its own, so the files do not fit together.
"""

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path

from depth_anything_3 import DepthAnything3
from depth_anything_3.errors import DA3Error
from depth_anything_3.export import export
from depth_anything_3.inputs.video import open_source


def merged(model: DepthAnything3, args: argparse.Namespace) -> None:
    """Write one file with the points of all frames, as views of one scene."""
    with open_source(args.video) as source:
        seconds = source.info.duration or 0.0
    fps = min(args.fps, args.max_views / seconds) if seconds else args.fps  # memory grows with the views
    with open_source(args.video, fps=fps) as source:
        frames = [frame.image for frame in islice(source, args.max_views)]
    scene = model.inference(frames, process_res=args.process_res)
    (path,) = export(scene, args.output, "ply")
    print(f"{path}: {len(frames)} frames as views of one scene")


def one_file_per_frame(model: DepthAnything3, args: argparse.Namespace) -> None:
    """Write a file for each frame, by an assumed field of view."""
    print(f"{model.model_name} predicts no cameras: one file per frame, with a field of view of {args.fov:g} degrees")
    for frame, prediction in model.stream_video(args.video, fps=args.fps, process_res=args.process_res):
        camera = prediction.centred_intrinsics(prediction.focal_length(fov=args.fov))
        (path,) = export(replace(prediction, intrinsics=camera), args.output, "ply", f"{frame.index:06d}")
        print(f"{path}: {frame.time:.2f} s")


def main() -> None:
    """Read the arguments, and compute points in the way that the model allows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("--output", type=Path, default=Path("points"))
    parser.add_argument("--fps", type=float, default=1.0, help="frames to use per second")
    parser.add_argument("--max-views", type=int, default=32, help="maximum number of frames of one scene")
    parser.add_argument("--fov", type=float, default=60.0, help="horizontal, degrees; for models without cameras")
    parser.add_argument("--process-res", type=int, help="default: 504, or what the model was trained for")
    parser.add_argument("--model-dir", default="depth-anything/DA3-BASE")
    args = parser.parse_args()
    try:
        model = DepthAnything3.from_pretrained(args.model_dir)
        (merged if model.card.has_poses else one_file_per_frame)(model, args)
    except DA3Error as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
