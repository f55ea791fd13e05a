"""Make initial 3D Gaussians for a trainer of 3D Gaussian splatting from a COLMAP workspace. Needs a model with cameras.

python examples/colmap_to_gaussians.py workspace/ --output init.ply

The workspace has `images/` and a sparse model. Depth is conditioned on its cameras and has its unit, so the Gaussians
fit the cameras that the trainer reads. The file has the layout of 3D Gaussian splatting (Kerbl et al., 2023).
"""

import argparse
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from depth_anything_3 import DepthAnything3, Prediction
from depth_anything_3.errors import DA3Error
from depth_anything_3.export.colmap import find_sparse_model, given_cameras, pair_images, read_sparse_model
from depth_anything_3.export.formats.gs_ply import gaussian_rows
from depth_anything_3.export.ply_file import write_vertices
from depth_anything_3.export.point_cloud import confidence_threshold, gather_points

SH_DC = 0.28209479177387814  # spherical harmonic of degree 0: colour = 0.5 + SH_DC * coefficient
OPACITY = 0.1  # with which trainers usually start


def posed_depth(model: DepthAnything3, workspace: Path, process_res: int) -> Prediction:
    """Compute the depth of all images that have a pose, as views of one scene."""
    images = workspace / "images"
    files = sorted(path for path in images.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    pairing = pair_images(read_sparse_model(find_sparse_model(workspace)), files, images)
    exif, intrinsics = given_cameras(pairing)
    print(f"{len(pairing.paths)} of {len(files)} images have a pose")
    return model.inference(pairing.paths, pairing.extrinsics, intrinsics, process_res=process_res, exif=exif)


def make_gaussians(scene: Prediction, percentile: float, voxel: float | None) -> SimpleNamespace:
    """Make one Gaussian for the most confident point of each voxel; its size is that of its pixel or the voxel."""
    conf, intrinsics = scene.conf, scene.intrinsics
    cloud = gather_points(scene, conf, confidence_threshold(conf, percentile), max_points=None)
    view = np.repeat(np.arange(len(cloud.counts)), cloud.counts)
    column, row = cloud.pixels.T
    pixel_size = scene.depth[view, row, column] / intrinsics[view, 0, 0]  # of a pixel at its depth
    voxel = voxel or 2 * float(np.median(pixel_size))
    best_first = np.argsort(-conf[view, row, column], kind="stable")
    cells = np.floor((cloud.points[best_first] - cloud.points.min(axis=0)) / voxel).astype(np.int64)
    kept = best_first[np.unique(cells, axis=0, return_index=True)[1]]
    print(f"{scene.depth.size} pixels, {len(view)} confident points, {len(kept)} voxels of {voxel:.4g}")
    deviation = np.maximum(pixel_size[kept], voxel) / 2
    return SimpleNamespace(
        means=cloud.points[kept],
        scales=np.repeat(deviation[:, None], 3, axis=1),
        rotations=np.tile([1.0, 0.0, 0.0, 0.0], (len(kept), 1)),  # quaternion, real part first
        harmonics=(cloud.colors[kept, :, None] / 255 - 0.5) / SH_DC,
        opacities=np.full(len(kept), OPACITY),
    )


def main() -> None:
    """Read the arguments, compute depth, and write the Gaussians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--output", type=Path, default=Path("init.ply"))
    parser.add_argument("--percentile", type=float, default=40, help="share of pixels to drop, the least confident")
    parser.add_argument("--voxel", type=float, help="in the unit of the workspace; default: two pixels at median depth")
    parser.add_argument("--process-res", type=int, default=504)
    parser.add_argument("--model-dir", default="depth-anything/DA3-BASE")
    args = parser.parse_args()
    try:
        scene = posed_depth(DepthAnything3.from_pretrained(args.model_dir), args.workspace, args.process_res)
    except DA3Error as error:
        raise SystemExit(str(error)) from None
    gaussians = make_gaussians(scene, args.percentile, args.voxel)
    write_vertices(args.output, gaussian_rows(gaussians, np.arange(len(gaussians.means))))
    print(f"{args.output}: {len(gaussians.means)} Gaussians")


if __name__ == "__main__":
    main()
