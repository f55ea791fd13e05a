"""Render 3D Gaussians by `gsplat` (Ye et al., 2024), which needs a CUDA GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import UnsupportedError
from depth_anything_3.runtime.packages import install_hint

__all__ = ["GsplatRasterizer", "check_cuda"]

_SH_DEGREE = 2  # of the spherical harmonics


def check_cuda(format_name: str) -> None:
    """Check that there is a CUDA device, for a format that renders on it.

    Raises:
        UnsupportedError: there is none.
    """
    import torch

    if not torch.cuda.is_available():
        raise UnsupportedError(f"{format_name} needs a CUDA GPU, on which it is rendered; write gs_ply instead")


class GsplatRasterizer:
    """Renders the Gaussians of one scene.

    Args:
        gaussians: with tensors as in `gs_ply.gaussian_rows`, on any device.

    Raises:
        UnsupportedError: gsplat is not installed, or there is no CUDA device.
    """

    def __init__(self, gaussians: Any) -> None:  # Any: the model's class
        try:
            import gsplat
        except ImportError as missing:
            raise UnsupportedError(f"gs_video needs gsplat; {install_hint('gsplat')}") from missing
        check_cuda("gs_video")
        import torch

        self._rasterization = gsplat.rasterization

        def flat(values: Any, axes: int) -> Any:  # Any: tensors; torch is imported late
            return values.detach().to("cuda", torch.float32).reshape(values.shape[-axes:]).contiguous()

        self._scene = {
            "means": flat(gaussians.means, 2),
            "quats": flat(gaussians.rotations, 2),  # gsplat reads (w, x, y, z)
            "scales": flat(gaussians.scales, 2),
            "opacities": flat(gaussians.opacities, 1),
            "colors": flat(gaussians.harmonics, 3).transpose(1, 2).contiguous(),
        }

    def __call__(
        self, world_to_camera: npt.NDArray[np.float64], intrinsics: npt.NDArray[np.float64], size_hw: tuple[int, int]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Render frames on a black background.

        Args:
            world_to_camera: (F, 4, 4).
            intrinsics: (F, 3, 3) in pixels.
            size_hw: (height, width).

        Returns:
            Colours (F, H, W, 3), about 0 to 1, and expected depth (F, H, W), 0 where no Gaussian is.
        """
        import torch

        height, width = size_hw
        with torch.inference_mode():
            rendered, _, _ = self._rasterization(
                **self._scene,
                viewmats=torch.as_tensor(world_to_camera, dtype=torch.float32, device="cuda"),
                Ks=torch.as_tensor(intrinsics, dtype=torch.float32, device="cuda"),
                width=width,
                height=height,
                sh_degree=_SH_DEGREE,
                render_mode="RGB+ED",
                packed=False,
            )
        pixels = rendered.cpu().numpy()
        return pixels[..., :3], pixels[..., 3]
