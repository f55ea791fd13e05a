"""Train a small network on the depth of a teacher, with images from `InputProcessor` in the workers of a DataLoader.

python examples/train_student.py photos/ --steps 200 --workers 4

Without a folder it trains on the package's three demonstration images, with da3-nano as teacher.
The size is that of the crops in pixels, a multiple of 56.
"""

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from depth_anything_3 import DepthAnything3, InputProcessor
from depth_anything_3.jobs.demo import demo_images


class RandomCrops(Dataset[torch.Tensor]):
    """Square crops (3, size, size) of normalised images; the processor works in forked and in spawned workers."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths, self.size, self.processor = paths, size, InputProcessor()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        path, size, method = self.paths[index], self.size, "lower_bound_resize"  # the shorter side becomes size
        image = self.processor([path], process_res=size, process_res_method=method, num_workers=1).tensor[0]
        top, left = (int(torch.randint(side - size + 1, ())) for side in image.shape[1:])
        return image[:, top : top + size, left : left + size]


def make_student() -> nn.Module:
    """Make a network from (B, 3, H, W) to log depth (B, 1, H, W)."""
    layers = [nn.Conv2d(3, 32, 7, stride=4, padding=3), nn.GELU(), nn.Conv2d(32, 64, 5, stride=2, padding=2), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(64, 1, 1), nn.Upsample(scale_factor=8, mode="bilinear"))


def scale_invariant(log_ratio: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return the mean over images of the standard deviation of log ratios (B, H, W): relative depth has no scale."""
    weights = known / known.sum((1, 2), keepdim=True).clamp(min=1)
    mean = (weights * log_ratio).sum((1, 2), keepdim=True)
    return ((weights * (log_ratio - mean) ** 2).sum((1, 2)) + 1e-8).sqrt().mean()


def main() -> None:
    """Read the arguments, and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    for name, default in (("--steps", 60), ("--batch-size", 8), ("--workers", 2), ("--size", 112)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--model-dir", default="da3-nano", help="the teacher")
    args = parser.parse_args()
    torch.manual_seed(0)
    found = sorted(args.folder.rglob("*")) if args.folder else [one.path for one in demo_images()]
    crops = RandomCrops([path for path in found if path.suffix.lower() in {".jpg", ".jpeg", ".png"}], args.size)
    teacher = DepthAnything3.from_pretrained(args.model_dir)
    student = make_student().to(teacher.device)
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-3)
    sampler = RandomSampler(crops, replacement=True, num_samples=args.steps * args.batch_size)
    loader = DataLoader(crops, batch_size=args.batch_size, sampler=sampler, num_workers=args.workers)
    for step, images in enumerate(loader, 1):
        with torch.no_grad():
            images = images.to(teacher.device)
            result = teacher.model(images[:, None])  # (B, 1, 3, H, W): each image is a scene of its own
        depth = result["depth"][:, 0]  # (B, H, W)
        known = result["sky"][:, 0] < 0.3 if "sky" in result else depth > 0
        loss = scale_invariant(student(images)[:, 0] - depth.log(), known)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step == 1 or step % 10 == 0:
            print(f"step {step}: {args.batch_size * step} images, error of log depth {loss.item():.3f}")


if __name__ == "__main__":
    main()
