"""Implement the network of the demonstration checkpoint in a form that trains faster on a CPU.

It is a small vision transformer with a DPT head for depth and sky. It repeats the package's mono network: structure and
parameter names are the same, so that the package loads the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NANO", "NanoDepth", "NetworkSize"]

PATCH = 14
HEAD_DIM = 64
TABLE_SIDE = 37


@dataclass(frozen=True)
class NetworkSize:
    """What shapes the network: see `depth_anything_3.model.catalog.Preset`."""

    width: int
    depth: int
    out_layers: tuple[int, int, int, int]
    head_features: int
    head_channels: tuple[int, int, int, int]


NANO = NetworkSize(width=192, depth=8, out_layers=(1, 3, 5, 7), head_features=32, head_channels=(24, 48, 96, 192))


class _PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=PATCH, stride=PATCH)

    def forward(self, images: Tensor) -> Tensor:
        # As a matrix product: the backward pass of such a convolution is several times slower on a CPU.
        batch, _, height, width = images.shape
        patches = images.reshape(batch, 3, height // PATCH, PATCH, width // PATCH, PATCH)
        flat = patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, 3 * PATCH * PATCH)
        tokens: Tensor = F.linear(flat, self.proj.weight.flatten(1), self.proj.bias)
        return tokens


class _Attention(nn.Module):
    """Attention written out: on a CPU its backward pass takes a third of the fused one's time at these sizes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = torch.unflatten(self.qkv(x), -1, (3, -1, HEAD_DIM)).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-1, -2) * HEAD_DIM**-0.5).softmax(-1)
        out: Tensor = self.proj((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2))
        return out


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class _LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width)
        self.ls1 = _LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _Mlp(width)
        self.ls2 = _LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        x = x + self.ls2(self.mlp(self.norm2(x)))
        return x


class _Backbone(nn.Module):
    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.out_layers = size.out_layers
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + TABLE_SIDE**2, size.width))
        self.patch_embed = _PatchEmbed(size.width)
        self.blocks = nn.ModuleList(_Block(size.width) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Resample the table to the grid, with DINOv2's step of (size + 0.1) / 37."""
        grid = self.pos_embed[:, 1:].unflatten(1, (TABLE_SIDE, TABLE_SIDE)).permute(0, 3, 1, 2)
        scale = ((rows + 0.1) / TABLE_SIDE, (columns + 0.1) / TABLE_SIDE)
        resized = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Four `(B, N, width)`."""
        rows, columns = images.shape[2] // PATCH, images.shape[3] // PATCH
        table = self._positions(rows, columns)
        patches = self.patch_embed(images) + table[:, 1:]
        x = torch.cat([(self.cls_token + table[:, :1]).expand(len(images), -1, -1), patches], dim=1)
        features = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.out_layers:
                features.append(self.norm(x[:, 1:]))
        return features


class _ConvUnit(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(F.relu(self.conv1(F.relu(x))))
        return x + out


class _Fusion(nn.Module):
    def __init__(self, features: int, *, lateral: bool) -> None:
        super().__init__()
        if lateral:
            self.resConfUnit1 = _ConvUnit(features)
        self.resConfUnit2 = _ConvUnit(features)
        self.out_conv = nn.Conv2d(features, features, 1)

    def forward(self, top: Tensor, lateral: Tensor | None, size: tuple[int, int]) -> Tensor:
        if lateral is not None:
            top = top + self.resConfUnit1(lateral)
        return _resize(self.out_conv(self.resConfUnit2(top)), size)


class _Scratch(nn.Module):
    def __init__(self, channels: tuple[int, ...], features: int) -> None:
        super().__init__()
        for level, width in enumerate(channels, 1):
            self.add_module(f"layer{level}_rn", nn.Conv2d(width, features, 3, padding=1, bias=False))
            self.add_module(f"refinenet{level}", _Fusion(features, lateral=level < 4))
        self.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.output_conv2 = _output(features)
        self.sky_output_conv2 = _output(features)


class _Head(nn.Module):
    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        channels = size.head_channels
        self.projects = nn.ModuleList(nn.Conv2d(size.width, width, 1) for width in channels)
        self.resize_layers = nn.ModuleList(
            (
                nn.ConvTranspose2d(channels[0], channels[0], 4, stride=4),
                nn.ConvTranspose2d(channels[1], channels[1], 2, stride=2),
                nn.Identity(),
                nn.Conv2d(channels[3], channels[3], 3, stride=2, padding=1),
            )
        )
        self.scratch = _Scratch(channels, size.head_features)

    def forward(self, features: list[Tensor], size: tuple[int, int], *, coarse: bool) -> tuple[Tensor, Tensor]:
        grid = (size[0] // PATCH, size[1] // PATCH)
        s = self.scratch
        levels: list[Tensor] = []
        for level, (feature, project, resize) in enumerate(
            zip(features, self.projects, self.resize_layers, strict=True), 1
        ):
            cells = project(feature.transpose(1, 2).unflatten(2, grid))
            levels.append(s.get_submodule(f"layer{level}_rn")(resize(cells)))
        fused = None
        for level in (4, 3, 2, 1):
            here = levels[level - 1]
            target = _size(levels[level - 2]) if level > 1 else (2 * here.shape[2], 2 * here.shape[3])
            fusion = s.get_submodule(f"refinenet{level}")
            fused = fusion(here, None, target) if fused is None else fusion(fused, here, target)
        neck = s.output_conv1(fused)
        if not coarse:
            neck = _resize(neck, size)
        return s.output_conv2(neck)[:, 0].float(), s.sky_output_conv2(neck)[:, 0].float()


class _Wrapped(nn.Module):
    """Only a name between, as in published checkpoints."""

    def __init__(self, backbone: _Backbone) -> None:
        super().__init__()
        self.pretrained = backbone


class NanoDepth(nn.Module):
    """Depth and sky of single images; `forward` returns what comes before the last activations."""

    def __init__(self, size: NetworkSize = NANO) -> None:
        super().__init__()
        self.backbone = _Wrapped(_Backbone(size))
        self.head = _Head(size)
        _initialise(self, size)

    def forward(self, images: Tensor, *, coarse: bool = False) -> tuple[Tensor, Tensor]:
        """Predict what the last activations turn into depth and sky.

        Args:
            images: `(B, 3, H, W)` ImageNet-normalised RGB.
            coarse: Leave out the last resize: a third of the pixels, for the larger part of training.

        Returns:
            Log depth and sky before its ReLU, `(B, H, W)` each; `(B, 8H/14, 8W/14)` if coarse.
        """
        features = self.backbone.pretrained(images)
        log_depth, sky = self.head(features, (images.shape[2], images.shape[3]), coarse=coarse)
        return log_depth, sky

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Depth > 0 and sky >= 0, `(B, H, W)` each, as the package's mono presets give them."""
        log_depth, sky = self(images)
        return log_depth.exp(), F.relu(sky)


def _output(features: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(features // 2, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 1))


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


@torch.no_grad()
def _initialise(network: NanoDepth, size: NetworkSize) -> None:
    """Start where a small transformer learns fast: patches as low frequencies, positions as waves, calm residuals."""
    backbone = network.backbone.pretrained
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for block in backbone.blocks:
        assert isinstance(block, _Block)
        _start_attention(block.attn)
        nn.init.trunc_normal_(block.mlp.fc2.weight, std=0.04 / math.sqrt(2 * size.depth))
    for unit in network.head.modules():
        if isinstance(unit, _ConvUnit):
            unit.conv2.weight.mul_(0.2)
    nn.init.normal_(backbone.cls_token, std=0.02)
    backbone.pos_embed[:, 1:] = _wave_table(size.width)
    backbone.patch_embed.proj.weight.copy_(_cosine_filters(size.width))
    for output, start in ((network.head.scratch.output_conv2, 1.0), (network.head.scratch.sky_output_conv2, 0.2)):
        last = output[2]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        last.weight.mul_(0.1)
        last.bias.fill_(start)


def _start_attention(attention: _Attention) -> None:
    """Initialise attention so that tokens attend to similar tokens, whose values are slightly subtracted.

    The attention layers of trained transformers do so (Trockman and Kolter, Mimetic Initialization of Self-Attention
    Layers, 2023).
    """
    width = attention.proj.weight.shape[0]
    random = [torch.randn(width, width) / math.sqrt(width) for _ in range(width // HEAD_DIM + 1)]
    for head, noise in enumerate(random[1:]):
        left, strength, right = torch.linalg.svd(0.7 * noise + 0.7 * torch.eye(width))
        root = strength[:HEAD_DIM].sqrt()
        place = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
        attention.qkv.weight[:width][place] = (left[:, :HEAD_DIM] * root).T
        attention.qkv.weight[width : 2 * width][place] = right[:HEAD_DIM] * root[:, None]
    left, strength, right = torch.linalg.svd(0.4 * random[0] - 0.4 * torch.eye(width))
    attention.qkv.weight[2 * width :] = right * strength.sqrt()[:, None]
    attention.proj.weight.copy_(left * strength.sqrt())


def _wave_table(width: int) -> Tensor:
    """Make the table of sines and cosines of row and column, `(37*37, width)`."""
    place = torch.linspace(-1.0, 1.0, TABLE_SIDE)
    waves = math.pi * torch.logspace(-1.0, 3.0, width // 4, base=2.0)
    table = torch.cat([(place[:, None] * waves).sin(), (place[:, None] * waves).cos()], dim=1)
    rows, columns = table[:, None].expand(-1, TABLE_SIDE, -1), table[None].expand(TABLE_SIDE, -1, -1)
    return 0.3 * torch.cat([rows, columns], dim=-1).reshape(TABLE_SIDE**2, width)


def _cosine_filters(width: int) -> Tensor:
    """`(width, 3, 14, 14)`: the lowest frequencies of a patch's lightness, and the lowest of its two colour axes."""
    place = (torch.arange(PATCH) + 0.5) / PATCH
    basis = torch.stack([torch.cos(math.pi * k * place) for k in range(PATCH)])
    axes = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]])
    axes = axes / axes.norm(dim=1, keepdim=True)
    order = sorted((i * i + j * j, i, j) for i in range(PATCH) for j in range(PATCH))
    shares = (width - 2 * (width // 8), width // 8, width // 8)
    filters = []
    for axis, share in zip(axes, shares, strict=True):
        for square, i, j in order[:share]:
            wave = torch.outer(basis[i], basis[j])
            # Natural images hold less of high frequencies: lift them, so that all filters answer alike.
            filters.append(axis.view(3, 1, 1) * (wave / wave.norm() * (0.12 * (1.0 + square) ** 0.35)))
    return torch.stack(filters)
