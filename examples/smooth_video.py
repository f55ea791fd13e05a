"""Write the depth of a video as an MP4, with temporal smoothing. Needs the extra `video`.

python examples/smooth_video.py clip.mp4 depth.mp4
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from depth_anything_3 import DepthAnything3
from depth_anything_3.export.colormap import colorize_depth, inverse_depth_range
from depth_anything_3.export.video_file import write_mp4
from depth_anything_3.inputs.video import FrameSource, open_source


def coloured_frames(model: DepthAnything3, source: FrameSource) -> Iterator[np.ndarray]:
    """Yield the depth of each frame, coloured; all frames share the first one's colour range."""
    colour_range = None
    for _, prediction in model.stream_video(source, temporal="ema"):
        colour_range = colour_range or inverse_depth_range(prediction.depth[0])
        yield colorize_depth(prediction.depth[0], colour_range)


def main() -> None:
    """Read the arguments, and encode frames as they are computed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("output", type=Path)
    parser.add_argument("--model-dir", default="depth-anything/DA3-BASE")
    args = parser.parse_args()
    model = DepthAnything3.from_pretrained(args.model_dir)
    with open_source(args.video) as source:
        write_mp4(args.output, coloured_frames(model, source), fps=round(source.info.fps or 30))


if __name__ == "__main__":
    main()
