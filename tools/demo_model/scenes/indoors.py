"""Build indoor layouts: rooms, corridors and table tops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scenes.furniture import bed, box_pile, cabinet, chair, plant, shelf, small_thing, sofa, table
from scenes.outdoor_things import bush, conifer, person, stairs, tree
from scenes.scene import SceneBuilder, Vector, colour_of, moved
from scenes.solids import Look, yaw_rotation

__all__ = ["corridor", "room", "tabletop"]

Array = npt.NDArray[np.float64]

_THICK = 0.1
_WALL_LOOKS = ("plaster", "plaster", "plaster", "brick", "tile", "planks", "stripes", "fabric", "checks")
_FLOOR_LOOKS = ("planks", "planks", "wood", "tile", "fabric", "checks", "speckle", "stone", "plaster")
_BY_THE_WALL = (
    shelf,
    cabinet,
    sofa,
    bed,
    cabinet,
    shelf,
    table,
    plant,
    stairs,
)
_FREE = (
    table,
    chair,
    chair,
    box_pile,
    person,
    plant,
    sofa,
    table,
)


def room(b: SceneBuilder) -> None:
    """Build a furnished room, seen from near one of its walls."""
    rng = b.rng
    size = np.array([rng.uniform(2.6, 7.5), rng.uniform(2.3, 3.3), rng.uniform(3.0, 9.0)])
    _shell(b, size)
    _furnish(b, size)
    _stand(b, size)
    _light(b, size)


def corridor(b: SceneBuilder) -> None:
    """Build a corridor or hall: doors, pillars, ceiling lights."""
    rng = b.rng
    wide = rng.random() < 0.4
    size = np.array([rng.uniform(6, 14) if wide else rng.uniform(1.4, 3.0), rng.uniform(2.3, 5.0), rng.uniform(9, 26)])
    _shell(b, size)
    door = b.look("wood", "planks", "plaster")
    step = rng.uniform(2.0, 4.0)
    pillar = b.look("plaster", "stone", "tile")
    for z in np.arange(step, size[2] - 1, step):
        for x, chance in ((0.0, 0.6), (size[0], 0.6)):
            if rng.random() < chance:
                b.box((x, 1.0, z), (0.06, 1.0, 0.42), door)
        if wide and rng.random() < 0.8:
            for share in (0.25, 0.75):
                b.pole((share * size[0], 0, z), 0.2, size[1], pillar)
        if rng.random() < 0.8:
            b.box((size[0] / 2, size[1] - 0.02, z), (0.3, 0.02, 0.6), b.look("plaster", tint=(1, 1, 1), glow=2.0))
        if rng.random() < 0.5:
            spot = np.array([rng.uniform(0.3, size[0] - 0.3), 0.0, z + rng.uniform(-1, 1)])
            thing = (person, box_pile, chair, plant)[int(rng.integers(4))]
            thing(b, spot, rng.uniform(0, 6.3))
    scene = b.scene
    scene.eye = np.array(
        [size[0] * rng.uniform(0.3, 0.7), rng.uniform(1.1, min(2.0, size[1] - 0.4)), rng.uniform(0.4, 1.5)]
    )
    scene.yaw, scene.pitch = float(rng.normal(0, 0.15)), float(rng.normal(-0.03, 0.1))
    _light(b, size)


def tabletop(b: SceneBuilder) -> None:
    """Build a close view of things on a table."""
    rng = b.rng
    size = np.array([rng.uniform(2.5, 5), rng.uniform(2.3, 3), rng.uniform(2.5, 6)])
    _shell(b, size)
    height = rng.uniform(0.6, 0.9)
    middle = np.array([size[0] / 2, 0.0, rng.uniform(1.3, 1.9)])
    w, d = rng.uniform(0.6, 1.2), rng.uniform(0.4, 0.8)
    top = b.look("wood", "planks", "plaster", "checks", "fabric", "tile", gloss=rng.uniform(0, 0.6))
    b.box(moved(middle, 0, height - 0.03, 0), (w, 0.03, d), top)
    b.box(moved(middle, 0, height / 2 - 0.03, 0), (w * 0.8, height / 2 - 0.03, d * 0.7), b.look("wood", "plaster"))
    for _ in range(int(rng.integers(4, 14))):
        spot = moved(middle, rng.uniform(-0.9, 0.9) * w, height, rng.uniform(-0.85, 0.85) * d)
        small_thing(b, spot, rng.uniform(0, 6.3))
    for _ in range(int(rng.integers(0, 3))):
        _by_the_wall(b, size)
    scene = b.scene
    away = rng.uniform(0.45, 1.1)
    scene.eye = moved(middle, rng.uniform(-0.4, 0.4), height + rng.uniform(0.15, 0.7), -d - away + 0.3)
    target = moved(middle, rng.normal(0, 0.1), height + rng.uniform(0, 0.15), rng.normal(0, 0.2))
    _look_at(b, target)
    _light(b, size)


def _shell(b: SceneBuilder, size: Array) -> None:
    """Floor, ceiling and walls; some walls have openings, behind which lies the sky or another room."""
    rng = b.rng
    w, h, d = size
    wall = b.look(*_WALL_LOOKS, repeat_m=rng.uniform(0.6, 1.6), tint=b.colour(0.35, 1.0))
    floor = b.look(*_FLOOR_LOOKS, repeat_m=rng.uniform(0.6, 1.8), gloss=rng.uniform(0, 0.4))
    b.box((w / 2, -_THICK, d / 2), (w / 2 + 8, _THICK, d / 2 + 8), floor, structural=True)
    ceiling = b.look("plaster", "plaster", "planks", "tile", tint=b.colour(0.6, 1.0, vivid=0.05))
    b.box((w / 2, h + _THICK, d / 2), (w / 2 + _THICK, _THICK, d / 2 + _THICK), ceiling, structural=True)
    for index, (length, corner, axis) in enumerate(
        ((w, (0.0, d), 0), (d, (0.0, 0.0), 2), (d, (w, 0.0), 2), (w, (0.0, 0.0), 0))
    ):
        look = wall if rng.random() < 0.7 else b.look(*_WALL_LOOKS, tint=b.colour(0.3, 1.0))
        outward = (1.0, -1.0, 1.0, -1.0)[index]
        _build_wall(b, _Wall(length, h, corner, axis, outward), look)
        skirting = b.look("wood", "plaster", tint=b.colour(0.3, 1.0, vivid=0.05))
        if rng.random() < 0.5:
            centre = np.array([corner[0], 0.05, corner[1]])
            centre[axis] += length / 2
            half = np.full(3, 0.012)
            half[axis], half[1] = length / 2, 0.05
            b.box(centre, half, skirting)


@dataclass(frozen=True)
class _Wall:
    """Where a wall stands: its inner face begins at `corner` (x, z) and runs `length` metres along `axis` (0 or 2)."""

    length: float
    height: float
    corner: tuple[float, float]
    axis: int
    outward: float

    def place(self, b: SceneBuilder, middle: Vector, half: Vector, look: Look, *, structural: bool = False) -> None:
        """Add a box; middle and half extents along the wall, up, and outwards from its inner face."""
        at, size = self.point(*middle), np.array([half[2], half[1], half[2]], float)
        size[self.axis] = half[0]
        b.box(at, size, look, structural=structural)

    def point(self, along: float, up: float, outward: float) -> Array:
        """World position of a place on the wall."""
        at = np.array([self.corner[0], up, self.corner[1]])
        at[self.axis] += along
        at[2 - self.axis] += self.outward * outward
        return at


def _build_wall(b: SceneBuilder, wall: _Wall, look: Look) -> None:
    """Build a closed wall with pictures, or one with a door or a window."""
    rng = b.rng

    def piece(start: float, stop: float, low: float, high: float) -> None:
        if stop - start < 0.01 or high - low < 0.01:
            return
        middle, half = ((start + stop) / 2, (low + high) / 2, _THICK), ((stop - start) / 2, (high - low) / 2, _THICK)
        wall.place(b, middle, half, look, structural=True)

    if wall.length < 2.2 or rng.random() < 0.5:
        piece(-_THICK, wall.length + _THICK, 0.0, wall.height)
        _hang_pictures(b, wall)
        return
    door = rng.random() < 0.4
    half_width = rng.uniform(0.4, 0.7) if door else rng.uniform(0.4, min(1.6, wall.length / 2 - 0.4))
    at = rng.uniform(half_width + 0.2, wall.length - half_width - 0.2)
    low, high = 0.0, min(2.1, wall.height - 0.1)
    if not door:
        low, high = rng.uniform(0.3, 1.0), wall.height - rng.uniform(0.15, 0.5)
    piece(-_THICK, at - half_width, 0.0, wall.height)
    piece(at + half_width, wall.length + _THICK, 0.0, wall.height)
    piece(at - half_width, at + half_width, 0.0, low)
    piece(at - half_width, at + half_width, high, wall.height)
    if door:
        _next_room(b, wall)
    else:
        _frame(b, wall, at, half_width, (low, high))
        _outside(b, wall)


def _frame(b: SceneBuilder, wall: _Wall, at: float, half_width: float, rows: tuple[float, float]) -> None:
    """Build a window's frame with a bar across."""
    bar = b.look("plaster", "wood", tint=b.colour(0.4, 1.0, vivid=0.05))
    (low, high), middle = rows, sum(rows) / 2
    for along, up, half_along, half_up in (
        (at - half_width, middle, 0.04, (high - low) / 2),
        (at + half_width, middle, 0.04, (high - low) / 2),
        (at, low, half_width, 0.04),
        (at, high, half_width, 0.04),
        (at, middle, 0.025, (high - low) / 2),
    ):
        wall.place(b, (along, up, 0.0), (half_along, half_up, 0.05), bar)


def _next_room(b: SceneBuilder, wall: _Wall) -> None:
    """Build what is seen through a door: a far wall and a ceiling."""
    away, middle, half = b.rng.uniform(1.5, 6.0), wall.length / 2, wall.length / 2 + 4
    wall.place(b, (middle, 1.5, away), (half, 1.8, 0.1), b.look(*_WALL_LOOKS, repeat_m=1.5), structural=True)
    ceiling = (middle, wall.height + 0.1, away)
    wall.place(b, ceiling, (half, 0.05, away), b.look("plaster"), structural=True)


def _outside(b: SceneBuilder, wall: _Wall) -> None:
    """Build what is seen through a window: sometimes plants."""
    rng, away = b.rng, b.rng.uniform(1.5, 6.0)
    if rng.random() >= 0.6:
        return
    for _ in range(int(rng.integers(1, 4))):
        spot = wall.point(wall.length / 2 + rng.uniform(-4, 4), 0.0, away)
        (tree, bush, conifer)[int(rng.integers(3))](b, spot, rng.uniform(0, 6.3))


def _hang_pictures(b: SceneBuilder, wall: _Wall) -> None:
    rng = b.rng
    for _ in range(int(rng.integers(0, 4))):
        wide, high = rng.uniform(0.12, 0.6), rng.uniform(0.12, 0.5)
        up = rng.uniform(1.2, max(1.3, wall.height - 0.7))
        along = rng.uniform(0.1, 0.9) * wall.length
        picture = Look(b.page("picture", "picture", "stripes", "checks"), 2 * max(wide, high), (1.0, 1.0, 1.0), 0.2)
        wall.place(b, (along, up, 0.0), (wide, high, 0.02), picture)


def _by_the_wall(b: SceneBuilder, size: Array) -> None:
    """Put a piece of furniture against one of three walls, its back to the wall."""
    rng = b.rng
    side = rng.integers(3)
    if side == 0:
        spot, yaw = np.array([rng.uniform(0.5, size[0] - 0.5), 0.0, size[2] - 0.35]), 0.0
    elif side == 1:
        spot, yaw = np.array([0.35, 0.0, rng.uniform(0.8, size[2] - 0.5)]), -np.pi / 2
    else:
        spot, yaw = np.array([size[0] - 0.35, 0.0, rng.uniform(0.8, size[2] - 0.5)]), np.pi / 2
    _BY_THE_WALL[int(rng.integers(len(_BY_THE_WALL)))](b, spot, float(yaw))


def _furnish(b: SceneBuilder, size: Array) -> None:
    rng = b.rng
    for _ in range(int(rng.integers(2, 6))):
        _by_the_wall(b, size)
    for _ in range(int(rng.integers(1, 6))):
        spot = np.array([rng.uniform(0.5, size[0] - 0.5), 0.0, rng.uniform(0.25, 0.9) * size[2]])
        _FREE[int(rng.integers(len(_FREE)))](b, spot, rng.uniform(0, 6.3))
    if rng.random() < 0.5:
        middle = (rng.uniform(0.3, 0.7) * size[0], 0.008, rng.uniform(0.4, 0.7) * size[2])
        rug = b.look(
            "fabric",
            "stripes",
            "checks",
            "picture",
            repeat_m=rng.uniform(0.5, 2),
            tint=b.colour(vivid=rng.uniform(0, 0.6)),
        )
        b.box(middle, (rng.uniform(0.6, 1.5), 0.008, rng.uniform(0.5, 1.2)), rug, yaw_rotation(rng.normal(0, 0.2)))
    if rng.random() < 0.5:
        hang, spot = rng.uniform(0.3, 0.9), np.array([size[0] / 2, 0.0, size[2] * rng.uniform(0.4, 0.7)])
        b.pole(moved(spot, 0, size[1] - hang, 0), 0.01, hang, b.look("plaster", tint=(0.1, 0.1, 0.1)))
        b.dome(moved(spot, 0, size[1] - hang, 0), (0.22, 0.2, 0.22), b.look("plaster", "fabric", glow=0.8))


def _stand(b: SceneBuilder, size: Array) -> None:
    """Put the camera near a wall or a corner, looking across the room."""
    rng, scene = b.rng, b.scene
    scene.eye = np.array(
        [
            rng.uniform(0.15, 0.85) * size[0],
            rng.choice((rng.uniform(1.2, 1.75), rng.uniform(0.4, 2.1)), p=(0.75, 0.25)),
            rng.uniform(0.05, 0.3) * size[2] + 0.15,
        ]
    )
    target = np.array([rng.uniform(0.1, 0.9) * size[0], rng.uniform(0.5, 1.5), rng.uniform(0.6, 1.0) * size[2]])
    _look_at(b, target)


def _look_at(b: SceneBuilder, target: Array) -> None:
    scene = b.scene
    direction = target - scene.eye
    scene.yaw = float(np.arctan2(direction[0], direction[2]))
    scene.pitch = float(np.arctan2(direction[1], np.hypot(direction[0], direction[2])))


def _light(b: SceneBuilder, size: Array) -> None:
    """Place a lamp below the ceiling, or the sun outside the windows."""
    rng, scene = b.rng, b.scene
    warm = np.array([1.0, rng.uniform(0.82, 1.0), rng.uniform(0.65, 1.0)])
    if rng.random() < 0.75:
        scene.light = np.array(
            [rng.uniform(0.2, 0.8) * size[0], size[1] - rng.uniform(0.1, 0.5), rng.uniform(0.15, 0.8) * size[2]]
        )
        scene.light_colour = colour_of(warm * rng.uniform(1.0, 3.5))
    else:
        direction = np.array([rng.uniform(-1, 1), rng.uniform(0.3, 0.9), rng.uniform(-0.5, 1.0)])
        scene.light = scene.eye + 60.0 * direction / np.linalg.norm(direction)
        scene.light_colour = colour_of(warm * rng.uniform(3, 7))
    level = rng.uniform(0.35, 0.9)
    scene.ambient = colour_of(level * np.array([rng.uniform(0.9, 1.05), 1.0, rng.uniform(0.85, 1.1)]))
    scene.bounce = colour_of(level * rng.uniform(0.4, 0.8) * warm)
    scene.haze = float(rng.uniform(150, 600))
    bright = rng.uniform(1.0, 4.0)
    scene.horizon, scene.zenith = (
        colour_of(bright * np.array([0.95, 0.98, 1.0])),
        colour_of(bright * np.array([0.6, 0.75, 1.0])),
    )
    scene.clouds = (b.page("clouds"), float(rng.uniform(0, 1)))
