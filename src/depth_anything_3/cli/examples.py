"""Examples of each command, and the page of the documentation about it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HELP", "CommandHelp"]


@dataclass(frozen=True)
class CommandHelp:
    """What stands below the flags in the help of a command.

    Attributes:
        page: path of a page, from the root of the repository.
        examples: lines for a shell.
    """

    page: str
    examples: tuple[str, str]


HELP = {
    "da3": CommandHelp("docs/quickstart.md", ("da3 demo", "da3 images photos/ -o out")),
    "demo": CommandHelp("docs/quickstart.md", ("da3 demo", "da3 demo photo.jpg -o out")),
    "image": CommandHelp("docs/quickstart.md", ("da3 image photo.jpg", "da3 image photo.jpg -o depth.png")),
    "images": CommandHelp(
        "docs/quickstart.md",
        ("da3 images photos/ -o out --resume", "da3 images room/ --scene -o room3d -f glb-depth_vis"),
    ),
    "auto": CommandHelp("docs/upstream.md", ("da3 auto room/ -o room3d", "da3 auto video.mp4 --fps 2 -o room3d")),
    "video": CommandHelp(
        "docs/video.md",
        ("da3 video video.mp4 -o out --temporal ema", "da3 video video.mp4 -o out -f npz --start 1:30 --end 2:00"),
    ),
    "webcam": CommandHelp("docs/video.md", ("da3 webcam", "da3 webcam rtsp://camera/stream --http 8000")),
    "serve": CommandHelp("docs/serve.md", ("da3 serve", "da3 serve --host 0.0.0.0 --token-file token.txt")),
    "backend": CommandHelp(
        "docs/serve.md", ("da3 backend --allow-paths scenes/", "da3 backend -m da3-small --allow-paths scenes/")
    ),
    "colmap": CommandHelp(
        "docs/quickstart.md", ("da3 colmap workspace/ -o out", "da3 colmap workspace/ -o out -f colmap-ply")
    ),
    "export": CommandHelp(
        "docs/exports.md",
        ("da3 export out/npz/photo.npz -o out -f tiff", "da3 export out/npz/*.npz -o out -f depth_png-ply"),
    ),
    "export-model": CommandHelp(
        "docs/export-model.md",
        ("da3 export-model -m da3-small -o da3-small.onnx", "da3 export-model -m da3-nano --dynamic all -f openvino"),
    ),
    "index": CommandHelp("docs/exports.md", ("da3 index out", "da3 index debug")),
    "plan": CommandHelp(
        "docs/export-model.md", ("da3 plan photo.jpg", "da3 plan photo.jpg --model-dir da3-nano --json > plan.json")
    ),
    "report": CommandHelp("docs/scale.md", ("da3 report out", "da3 report machine1/out machine2/out --json")),
    "models": CommandHelp("docs/models.md", ("da3 models", "da3 models --json")),
    "cache": CommandHelp("docs/backends.md", ("da3 cache", "da3 cache --clear")),
    "download": CommandHelp("docs/models.md", ("da3 download da3-small", "da3 download da3-base da3metric-large")),
    "doctor": CommandHelp("docs/strategies.md", ("da3 doctor", "da3 doctor --calibrate")),
}
"""By name; `da3` is the command without a name of its own."""
