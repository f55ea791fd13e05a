"""Write the depth of every image in a folder; print progress, and each image that could not be read.

python examples/folder_with_progress.py photos/ --output depth/
"""

import argparse
from pathlib import Path

from depth_anything_3.api import DepthAnything3, ImageFailure
from depth_anything_3.export import export


def main() -> None:
    """Read the arguments, and write one 16-bit PNG per image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, default=Path("depth"))
    parser.add_argument("--model-dir", default="depth-anything/DA3-BASE")
    args = parser.parse_args()

    model = DepthAnything3.from_pretrained(args.model_dir)
    paths = sorted(path for path in args.folder.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    failures: list[ImageFailure] = []
    # Images are decoded ahead. Memory does not grow with their number.
    predictions = model.stream(paths, batch_size="auto", on_error="skip", on_failure=failures.append)
    for done, prediction in enumerate(predictions, 1):
        name = Path(prediction.sources[0]).stem
        export(prediction, args.output, "depth_png", name=name)
        print(f"{done + len(failures)}/{len(paths)} {name}")
    for failure in failures:
        print(f"failed: {failure.error}")


if __name__ == "__main__":
    main()
