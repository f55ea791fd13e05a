"""Encode given cameras as tokens, and decode predicted cameras from tokens.

Both use a pose encoding of nine numbers: camera-to-world translation (3), camera-to-world rotation as a quaternion
x, y, z, w (4), and the vertical and horizontal field of view in radians (2). The principal point is not encoded;
decoded cameras have it at the image centre.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from depth_anything_3.model.blocks import Block, Mlp
from depth_anything_3.model.geometry import matrix_to_quaternion, quaternion_to_matrix, rigid_inverse

__all__ = ["CameraDecoder", "CameraEncoder", "decode_pose", "encode_pose"]

_ENCODER_DEPTH = 4
_ENCODER_HEADS = 16
_NORM_EPS = 1e-5
_POSE_NUMBERS = 9


def encode_pose(camera_to_world: Tensor, intrinsics: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Compute the pose encoding of cameras.

    Args:
        camera_to_world: `(..., 3 or 4, 4)`.
        intrinsics: `(..., 3, 3)` in pixels of the network's input.
        image_size: (height, width) of that input in pixels.

    Returns:
        `(..., 9)`.
    """
    height, width = image_size
    fov_height = 2 * torch.atan((height / 2) / intrinsics[..., 1, 1])
    fov_width = 2 * torch.atan((width / 2) / intrinsics[..., 0, 0])
    return torch.cat(
        [
            camera_to_world[..., :3, 3],
            matrix_to_quaternion(camera_to_world[..., :3, :3]),
            torch.stack([fov_height, fov_width], dim=-1),
        ],
        dim=-1,
    )


def decode_pose(encoding: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Compute cameras from pose encodings.

    Args:
        encoding: `(..., 9)`.
        image_size: (height, width) of the network's input in pixels.

    Returns:
        Camera-to-world `(..., 3, 4)` and intrinsics `(..., 3, 3)` in pixels. A field of view of 0, or above pi,
        has no valid focal length and gets a very large one, half the image side divided by 1e-6.
    """
    height, width = image_size
    rotation = quaternion_to_matrix(encoding[..., 3:7])
    camera_to_world = torch.cat([rotation, encoding[..., :3].unsqueeze(-1)], dim=-1)
    focal = torch.tan(encoding[..., 7:] / 2).clamp_min(1e-6).reciprocal()
    half_width, half_height = (torch.scalar_tensor(side, device=encoding.device) / 2 for side in (width, height))
    focal_x, focal_y = focal[..., 1] * half_width, focal[..., 0] * half_height
    zero, one = torch.zeros_like(focal_x), torch.ones_like(focal_x)
    rows = (
        torch.stack([focal_x, zero, half_width.expand_as(zero)], dim=-1),
        torch.stack([zero, focal_y, half_height.expand_as(zero)], dim=-1),
        torch.stack([zero, zero, one], dim=-1),
    )
    return camera_to_world, torch.stack(rows, dim=-2)


class CameraEncoder(nn.Module):
    """Encodes given cameras as one token per view, with attention among the cameras of a scene."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = nn.ModuleList(Block(width, _ENCODER_HEADS, norm_eps=_NORM_EPS) for _ in range(_ENCODER_DEPTH))
        self.token_norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.trunk_norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.pose_branch = Mlp(_POSE_NUMBERS, width // 2, width)

    def forward(self, extrinsics: Tensor, intrinsics: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Encode cameras.

        Args:
            extrinsics: `(B, S, 4, 4)` world to camera.
            intrinsics: `(B, S, 3, 3)` in pixels of the network's input.
            image_size: (height, width) of that input in pixels.

        Returns:
            `(B, S, width)`.
        """
        encoding = encode_pose(rigid_inverse(extrinsics), intrinsics, image_size)
        tokens: Tensor = self.token_norm(self.pose_branch(encoding))
        for block in self.trunk:
            tokens = block(tokens)
        tokens = self.trunk_norm(tokens)
        return tokens


class CameraDecoder(nn.Module):
    """Decodes camera tokens to pose encodings, each view independently."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.fc_t = nn.Linear(width, 3)
        self.fc_qvec = nn.Linear(width, 4)
        self.fc_fov = nn.Sequential(nn.Linear(width, 2), nn.ReLU())

    def forward(self, tokens: Tensor) -> Tensor:
        """Map camera tokens `(B, S, width)` of the last level to pose encodings `(B, S, 9)`."""
        hidden = self.backbone(tokens)
        return torch.cat([self.fc_t(hidden), self.fc_qvec(hidden), self.fc_fov(hidden)], dim=-1)
