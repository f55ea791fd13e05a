from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from depth_anything_3.scenes import Atlas, render, render_large
from depth_anything_3.scenes.layouts import make_scene
from depth_anything_3.scenes.rays import cast, nearest_gap, shadow
from depth_anything_3.scenes.render import draw_scenes
from depth_anything_3.scenes.scene import Scene, SceneBuilder
from depth_anything_3.scenes.solids import Look, SolidList, stack_solids, yaw_rotation
from depth_anything_3.scenes.textures import SIDE

SIZE = (56, 84)
LOOK = Look(0, 1.0, (0.5, 0.5, 0.5))


@pytest.fixture
def builder(atlas: Atlas) -> SceneBuilder:
    """An empty scene seen by a level camera at the origin, 90 degrees wide."""
    built = SceneBuilder(np.random.default_rng(0), atlas.families)
    built.scene.eye = np.zeros(3)
    built.scene.fov = math.pi / 2
    return built


def seen(scene: Scene, atlas: Atlas, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    drawn = draw_scenes([scene], [0], size, atlas)
    return drawn.depth[0].numpy(), drawn.normal[0].numpy(), drawn.intrinsics[0].numpy()


def pixel_rays(intrinsics: np.ndarray, size: tuple[int, int] = SIZE) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    return np.stack([columns, rows, np.ones(size)], -1) @ np.linalg.inv(intrinsics).T


def test_same_seed_gives_the_same_image_and_other_seeds_others(atlas: Atlas) -> None:
    first, again = render([3, 4], SIZE, atlas), render([3, 4], SIZE, atlas)
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.depth, again.depth)
    assert not torch.equal(first.image[0], first.image[1])


def test_a_wall_has_one_depth_and_faces_the_camera(builder: SceneBuilder, atlas: Atlas) -> None:
    builder.box((0, 0, 5.5), (20, 20, 0.5), LOOK)
    depth, normal, _ = seen(builder.scene, atlas)
    np.testing.assert_allclose(depth, 5.0, rtol=1e-5)
    np.testing.assert_allclose(normal, np.array([0, 0, -1.0]).reshape(3, 1, 1) * np.ones_like(depth), atol=1e-5)


def test_the_ground_has_the_depth_of_its_plane(builder: SceneBuilder, atlas: Atlas) -> None:
    builder.box((0, -1.6 - 0.5, 0), (300, 0.5, 300), LOOK)
    depth, normal, intrinsics = seen(builder.scene, atlas)
    down = pixel_rays(intrinsics)[..., 1]
    below = down > 0.02
    np.testing.assert_allclose(depth[below], 1.6 / down[below], rtol=1e-4)
    np.testing.assert_allclose(normal[1][below], -1.0, atol=1e-4)
    assert np.isinf(depth[down < 0]).all()


def test_a_ball_is_where_the_formula_says(builder: SceneBuilder, atlas: Atlas) -> None:
    centre, radius = np.array([0.7, -0.4, 4.0]), 1.3  # y down, as the camera sees it
    builder.ball(centre * (1, -1, 1), np.full(3, radius), LOOK, yaw_rotation(0.7))
    depth, normal, intrinsics = seen(builder.scene, atlas)
    rays = pixel_rays(intrinsics)
    a, b, c = (rays**2).sum(-1), rays @ centre, centre @ centre - radius**2
    inside = b * b - a * c
    expected = np.where(inside > 0, (b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
    clear = np.abs(inside) > 1e-3
    np.testing.assert_allclose(depth[clear], expected[clear], rtol=1e-4)
    hit = clear & np.isfinite(depth)
    assert hit.sum() > 100
    outward = (rays * depth[..., None] - centre)[hit] / radius
    np.testing.assert_allclose(normal[:, hit].T, outward, atol=2e-3)


def test_a_known_point_lands_where_the_intrinsics_project_it(builder: SceneBuilder, atlas: Atlas) -> None:
    scene = builder.scene
    scene.eye, scene.yaw, scene.pitch, scene.roll, scene.fov = np.array([1.0, 2.0, -1.0]), 0.3, -0.2, 0.1, 1.1
    point = np.array([2.5, 1.4, 5.0])
    builder.ball(point, (0.12, 0.12, 0.12), LOOK)
    size = (112, 154)
    depth, _, intrinsics = seen(scene, atlas, size)
    x, y, z = intrinsics @ (scene.view_rotation() @ (point - scene.eye))
    rows, columns = np.nonzero(np.isfinite(depth))
    assert len(rows) > 10
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((x / z, y / z), abs=0.5)
    assert depth[rows, columns].min() == pytest.approx(z - 0.12, abs=0.01)
    assert intrinsics[0, 0] == pytest.approx(77 / math.tan(0.55))


def test_a_cylinder_has_a_flat_top_and_a_round_side(builder: SceneBuilder, atlas: Atlas) -> None:
    builder.scene.eye, builder.scene.pitch = np.array([0.0, 2.5, 0.0]), -0.6
    builder.pole(np.array([0.0, 0.0, 3.0]), 0.8, 1.0, LOOK)
    depth, normal, _ = seen(builder.scene, atlas, (112, 154))
    up = builder.scene.view_rotation()[:, 1]
    upness = np.einsum("c,chw->hw", up, normal)[np.isfinite(depth)]
    on_top, on_side = upness > 0.999, np.abs(upness) < 1e-3
    assert on_top.sum() > 50
    assert on_side.sum() > 50
    assert (on_top | on_side).all()


def test_the_sky_is_where_nothing_is_and_only_there(atlas: Atlas) -> None:
    drawn = render(range(6), SIZE, atlas)
    assert torch.equal(drawn.sky, torch.isinf(drawn.depth))
    assert torch.equal(drawn.sky, drawn.normal.abs().sum(1) == 0)
    assert (drawn.depth > 0).all()
    assert not drawn.depth.isnan().any()
    length = drawn.normal.square().sum(1)[~drawn.sky]
    torch.testing.assert_close(length, torch.ones_like(length), atol=1e-3, rtol=0)


def test_normals_agree_with_the_slope_of_depth(atlas: Atlas) -> None:
    drawn = render([1], (168, 224), atlas)
    rays = torch.from_numpy(pixel_rays(drawn.intrinsics[0].numpy(), (168, 224))).float()
    points = (rays * drawn.depth[0].unsqueeze(-1)).nan_to_num(0.0, 0.0, 0.0)
    across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    slope = torch.nn.functional.normalize(torch.linalg.cross(down, across), dim=-1)
    agreement = (slope * drawn.normal[0, :, 1:-1, 1:-1].permute(1, 2, 0)).sum(-1)
    assert (agreement[~drawn.sky[0, 1:-1, 1:-1]] > 0.99).float().mean() > 0.7


def test_tiles_find_what_trying_every_solid_finds(atlas: Atlas) -> None:
    """Culling by cones must lose nothing."""
    scene = make_scene(5, atlas.families)
    view = [(scene.view_rotation(), scene.eye)]
    boxes, quadrics = stack_solids([scene.boxes], view), stack_solids([scene.quadrics], view)
    rays = torch.from_numpy(pixel_rays(np.array([[40.0, 0, 42], [0, 40, 28], [0, 0, 1]]))).float()
    tiles = rays.view(4, 14, 6, 14, 3).permute(0, 2, 1, 3, 4).reshape(1, 24, 196, 3)
    everything = rays.reshape(1, 1, -1, 3)[:, :, torch.randperm(56 * 84, generator=torch.Generator().manual_seed(0))]
    culled = cast(boxes, quadrics, tiles).t.flatten().sort().values
    tried = cast(boxes, quadrics, everything).t.flatten().sort().values
    torch.testing.assert_close(culled, tried, rtol=1e-3, atol=1e-3)


def test_shadows_lie_behind_what_casts_them(builder: SceneBuilder) -> None:
    """A ball between a light and a floor shades the disc that its cone cuts from the floor, and not itself."""
    builder.box((0, -1.5, 10), (50, 0.5, 50), LOOK)
    builder.ball(np.array([0.0, 1.0, 10.0]), np.full(3, 0.5), LOOK)
    boxes, quadrics = (stack_solids([part], [(np.eye(3), np.zeros(3))]) for part in builder_parts(builder))
    x = torch.linspace(-3, 3, 49)
    points = torch.stack([x, torch.full_like(x, -1.0), torch.full_like(x, 10.0)], dim=-1).view(1, 1, -1, 3)
    on_floor = torch.zeros(1, 1, 49, dtype=torch.long)
    shaded = shadow(boxes, quadrics, torch.tensor([[0.0, 3.0, 10.0]]), points, on_floor).flatten().bool()
    radius = 4.0 * math.tan(math.asin(0.5 / 2.0))
    assert torch.equal(shaded, x.abs() < radius)
    top = torch.tensor([0.0, 1.5, 10.0]).view(1, 1, 1, 3)
    on_ball = torch.full((1, 1, 1), boxes.count)
    assert float(shadow(boxes, quadrics, torch.tensor([[0.0, 3.0, 10.0]]), top, on_ball)) == 0.0


def test_the_gap_to_a_wall_is_its_distance(builder: SceneBuilder) -> None:
    builder.box((0, 0, 6), (20, 20, 1), LOOK)
    boxes, quadrics = (stack_solids([part], [(np.eye(3), np.zeros(3))]) for part in builder_parts(builder))
    z = torch.tensor([4.2, 4.7, 4.95])
    points = torch.stack([torch.zeros(3), torch.zeros(3), z], dim=-1).view(1, 1, 3, 3)
    gap = nearest_gap(boxes, quadrics, points, 0.5).flatten()
    torch.testing.assert_close(gap, torch.tensor([0.5, 0.3, 0.05]), atol=1e-5, rtol=0)


def builder_parts(builder: SceneBuilder) -> tuple[SolidList, SolidList]:
    return builder.scene.boxes, builder.scene.quadrics


def test_a_large_image_has_the_depth_of_a_small_one(atlas: Atlas) -> None:
    small, large = render([8], (56, 84), atlas), render_large(8, (168, 252), atlas)
    assert large.image.shape == (1, 3, 168, 252)
    middle = large.depth[:, 1::3, 1::3]
    same = (middle / small.depth).log().abs().nan_to_num(0.0) < 1e-3
    assert same.float().mean() > 0.995


def test_a_texture_repeats_and_its_last_level_is_its_mean(atlas: Atlas) -> None:
    page = torch.full((5,), atlas.families["checks"][0])
    u, v = torch.rand(2, 5, generator=torch.Generator().manual_seed(1))
    near = atlas.sample(page, u, v, torch.full((5,), 1e-4))
    torch.testing.assert_close(near, atlas.sample(page, u + 3.0, v - 2.0, torch.full((5,), 1e-4)), atol=2e-2, rtol=0)
    far = atlas.sample(page, u, v, torch.full((5,), 10.0))
    torch.testing.assert_close(far, far[:, :1].expand_as(far))
    grid = (torch.arange(SIDE) + 0.5) / SIDE
    vv, uu = torch.meshgrid(grid, grid, indexing="ij")
    every = page[:1].expand(SIDE * SIDE)
    finest = atlas.sample(every, uu.flatten(), vv.flatten(), torch.full((SIDE * SIDE,), 1e-4))
    torch.testing.assert_close(finest.mean(1), far[:, 0], atol=0.01, rtol=0)
