"""Store trained weights in the package as the checkpoint `da3-nano`, in the official format.

python package.py FOLDER        FOLDER is train.py's: it holds model.safetensors
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

import depth_anything_3
from depth_anything_3.api import DepthAnything3
from depth_anything_3.model.checkpoint import Checkpoint, load_weights

__all__ = ["main", "package"]

NAME = "da3-nano"
TARGET = Path(depth_anything_3.__file__).parent / "model" / "weights" / NAME

_MOST_BYTES = 12_000_000
_LARGEST_CHANGE = 0.02  # of depth, by keeping weights in two bytes; 0.001 was usual


def package(source: Path, target: Path) -> int:
    """Write weights in half precision with their `config.json`, and check that they load and still give the same depth.

    Args:
        source: A folder with `model.safetensors`, float32, official names.
        target: The checkpoint's folder.

    Returns:
        Its size in bytes.

    Raises:
        CheckpointFormatError: The file is damaged or of another network.
        ValueError: It would be too large, or its depth another.
    """
    cpu = torch.device("cpu")
    with torch.device("meta"):
        model = DepthAnything3(NAME)
    load_weights(model, Checkpoint(NAME, NAME, source / "model.safetensors"), cpu)
    image = torch.randn(1, 1, 3, 126, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = model.model(image)["depth"]
    model.model.half()  # `model.half()` would leave the weights float32
    model.save_pretrained(target)
    with torch.inference_mode():
        after = DepthAnything3.from_pretrained(target, cpu).model(image)["depth"]
    change = float((after / before - 1.0).abs().max())
    size = sum(path.stat().st_size for path in target.iterdir())
    if size > _MOST_BYTES:
        raise ValueError(f"{target}: {size:,} bytes, more than {_MOST_BYTES:,}")
    if not change < _LARGEST_CHANGE:
        raise ValueError(f"{target}: depth changes by up to {change:.2%} in half precision")
    sys.stdout.write(f"{target}: {size:,} bytes; depth changes by up to {change:.3%} in half precision\n")
    return size


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    package(parser.parse_args().folder, TARGET)


if __name__ == "__main__":
    main()
