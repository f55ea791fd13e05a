"""Prepare images with `InputProcessor` for a network of your own; here a stand-in with random weights.

python examples/own_network.py photo.jpg another.jpg
"""

import argparse

import torch
from torch import nn

from depth_anything_3 import InputProcessor


def main() -> None:
    """Read the arguments, and run the network on all images in one batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+")
    parser.add_argument("--process-res", type=int, default=504)
    args = parser.parse_args()

    network = nn.Sequential(nn.Conv2d(3, 32, 14, stride=14), nn.GELU(), nn.Conv2d(32, 1, 1)).eval()
    with InputProcessor() as processor, torch.inference_mode():
        # (N, 3, H, W) float32, normalised with ImageNet's mean and standard deviation; sides are multiples of 14.
        # On a GPU: GPUInputProcessor("cuda") is called in the same way.
        batch = processor(args.images, process_res=args.process_res, mixed_sizes="pad", fidelity="exact")
        output = network(batch.tensor)
    print(f"input {tuple(batch.tensor.shape)}, output {tuple(output.shape)}")
    for image in batch.images:
        print(f"{image.label}: {image.choice.strategy.value}, {image.choice.reason}")


if __name__ == "__main__":
    main()
