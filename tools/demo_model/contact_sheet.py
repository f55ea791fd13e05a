"""Draw contact sheets of a checkpoint's depth, for unseen scenes or the sample photos of scikit-image and scikit-learn.

python contact_sheet.py model.safetensors scenes.jpg            image | predicted depth | true depth
python contact_sheet.py model.safetensors photos.jpg --photos   photo | predicted depth
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from augment import normalise
from depth_anything_3.export.colormap import colorize_depth
from depth_anything_3.runtime.atomic_file import atomic_write
from evaluate import HELD_OUT_SEED
from network import NanoDepth
from scenes import make_atlas, render

__all__ = ["load_network", "main", "predict"]

Image = npt.NDArray[np.uint8]

_CELL = (168, 224)  # height and width of an image on the sheet
_PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "camera")


def load_network(path: Path) -> NanoDepth:
    """Load a network with the weights of `model.safetensors`."""
    network = NanoDepth()
    weights = {name.removeprefix("model."): value.float() for name, value in load_file(path).items()}
    network.load_state_dict(weights)
    return network.eval()


def predict(network: NanoDepth, image: Image, side: int) -> npt.NDArray[np.float32]:
    """Depth `(H, W)` of an image, 0 in the sky; the network sees it with `side` pixels on the longer side."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    rows, columns = (max(1, round(n * scale / 14)) * 14 for n in (height, width))
    small = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    tensor = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255.0
    with torch.inference_mode():
        depth, sky = network.predict(normalise(tensor))
    depth = depth.masked_fill(sky >= 0.5, 0.0)
    return cv2.resize(depth[0].numpy(), (width, height), interpolation=cv2.INTER_NEAREST).astype(np.float32)


def scene_rows(network: NanoDepth, side: int, count: int) -> Iterator[list[Image]]:
    """Image, prediction and truth of unseen scenes."""
    atlas = make_atlas()
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + count):
        with torch.inference_mode():
            seen = render([seed], _CELL, atlas)
        image = seen.image[0].permute(1, 2, 0).numpy()
        truth = seen.depth[0].masked_fill(seen.sky[0], 0.0).numpy()
        yield [image, colorize_depth(predict(network, image, side)), colorize_depth(truth)]


def photo_rows(network: NanoDepth, side: int) -> Iterator[list[Image]]:
    """Photo and prediction."""
    import skimage.data
    from sklearn.datasets import load_sample_images

    photos = [getattr(skimage.data, name)() for name in _PHOTOS]
    photos.append(skimage.data.stereo_motorcycle()[0])
    photos.extend(load_sample_images().images)
    for photo in photos:
        colour = np.repeat(photo[..., None], 3, 2) if photo.ndim == 2 else photo[..., :3]
        yield [_fit(colour), _fit(colorize_depth(predict(network, np.ascontiguousarray(colour), side)))]


def _fit(image: Image) -> Image:
    """Shrink an image to fit into a white cell."""
    height, width = image.shape[:2]
    scale = min(_CELL[0] / height, _CELL[1] / width)
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    cell = np.full((*_CELL, 3), 255, np.uint8)
    top, left = (_CELL[0] - size[1]) // 2, (_CELL[1] - size[0]) // 2
    cell[top : top + size[1], left : left + size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cell


def sheet(rows: list[list[Image]], columns: int) -> Image:
    """Arrange rows in columns on a white sheet."""
    gap = 4
    cells = [np.pad(np.hstack(row), ((0, gap), (0, 3 * gap), (0, 0)), constant_values=255) for row in rows]
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-len(cells) % columns)
    return np.vstack([np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)])


def main() -> None:
    """Draw a sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--photos", action="store_true", help="photos in place of scenes")
    parser.add_argument("--count", type=int, default=12, help="scenes")
    parser.add_argument("--side", type=int, default=224, help="longer side of what the network sees, in pixels")
    options = parser.parse_args()
    network = load_network(options.weights)
    if options.photos:
        rows, columns = list(photo_rows(network, options.side)), 3
    else:
        rows, columns = list(scene_rows(network, options.side, options.count)), 2
    with atomic_write(options.target) as temporary:
        cv2.imwrite(str(temporary), sheet(rows, columns)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])


if __name__ == "__main__":
    main()
