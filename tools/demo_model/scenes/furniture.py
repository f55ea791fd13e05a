"""Build random furniture and small objects of solids, at a given place."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scenes.placing import any_turn, leaf_tint, part
from scenes.scene import UPRIGHT, SceneBuilder, moved
from scenes.solids import yaw_rotation

__all__ = ["bed", "box_pile", "cabinet", "chair", "plant", "shelf", "small_thing", "sofa", "table"]

Array = npt.NDArray[np.float64]


_FURNITURE = ("wood", "planks", "plaster", "wood")


def table(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a table, sometimes round, with things on it."""
    rng = b.rng
    height, w, d = rng.uniform(0.4, 0.8), rng.uniform(0.4, 1.0), rng.uniform(0.3, 0.5)
    top, leg = b.look(*_FURNITURE, gloss=rng.uniform(0, 0.5)), b.look("wood", "plaster", repeat_m=0.6)
    if rng.random() < 0.25:
        b.pole(moved(at, 0, height - 0.04, 0), w * 0.8, 0.04, top)
        b.pole(at, 0.05, height - 0.04, leg)
        b.pole(at, w * 0.4, 0.03, leg)
    else:
        b.box(moved(at, 0, height - 0.02, 0), (w, 0.02, d), top, yaw_rotation(yaw))
        for sx in (-1, 1):
            for sz in (-1, 1):
                foot = part(at, yaw, (sx * (w - 0.06), (height - 0.04) / 2, sz * (d - 0.06)))
                b.box(foot, (0.03, (height - 0.04) / 2, 0.03), leg, yaw_rotation(yaw))
    for _ in range(int(rng.integers(0, 5))):
        spot = part(at, yaw, (rng.uniform(-0.7, 0.7) * w, height, rng.uniform(-0.7, 0.7) * d))
        small_thing(b, spot, rng.uniform(0, 6.3))


def small_thing(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a book, cup, bottle, fruit, bowl or vase."""
    rng = b.rng
    kind = rng.integers(6)
    look = b.look(
        "plaster",
        "fabric",
        "picture",
        "stripes",
        repeat_m=0.2,
        tint=b.colour(vivid=rng.uniform(0, 0.8)),
        gloss=rng.uniform(0, 0.9),
    )
    r = rng.uniform(0.03, 0.09)
    if kind == 0:
        for level in range(int(rng.integers(1, 5))):
            book = b.look("plaster", "picture", repeat_m=0.3, tint=b.colour(vivid=rng.uniform(0, 0.7)))
            turn = yaw_rotation(yaw + rng.normal(0, 0.2))
            b.box(
                moved(at, 0, 0.02 + 0.04 * level, 0),
                (rng.uniform(0.08, 0.14), 0.019, rng.uniform(0.1, 0.18)),
                book,
                turn,
            )
    elif kind == 1:
        b.pole(at, r, rng.uniform(0.08, 0.15), look)
    elif kind == 2:
        height = rng.uniform(0.15, 0.25)
        b.pole(at, r * 0.8, height, look)
        b.pole(moved(at, 0, height, 0), r * 0.3, height * 0.4, look)
    elif kind == 3:
        b.ball(moved(at, 0, r, 0), (r, r * rng.uniform(0.8, 1.1), r), look)
    elif kind == 4:
        height = rng.uniform(0.1, 0.4)
        b.box(
            moved(at, 0, height / 2, 0),
            (rng.uniform(0.05, 0.2), height / 2, rng.uniform(0.05, 0.15)),
            look,
            yaw_rotation(yaw),
        )
    else:
        b.ball(moved(at, 0, 2 * r, 0), (1.3 * r, 2 * r, 1.3 * r), look)
        b.pole(moved(at, 0, 3.5 * r, 0), 0.6 * r, 1.5 * r, look)


def chair(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a chair with four legs and a back."""
    rng = b.rng
    w, seat, back = rng.uniform(0.2, 0.26), rng.uniform(0.42, 0.5), rng.uniform(0.35, 0.6)
    look, turn = b.look("wood", "fabric", "plaster", repeat_m=0.5), yaw_rotation(yaw)
    b.box(moved(at, 0, seat, 0), (w, rng.uniform(0.015, 0.05), w), look, turn)
    for sx in (-1, 1):
        for sz in (-1, 1):
            b.box(part(at, yaw, (sx * (w - 0.03), seat / 2, sz * (w - 0.03))), (0.02, seat / 2, 0.02), look, turn)
    b.box(
        part(at, yaw, (0, seat + back / 2, w - 0.02)),
        (w, back / 2, 0.02),
        b.look("wood", "fabric", repeat_m=0.5, tint=look.tint),
        turn,
    )


def sofa(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a sofa or armchair with rounded cushions."""
    rng = b.rng
    w, d = rng.uniform(0.4, 1.1), rng.uniform(0.38, 0.48)
    look, turn = b.look("fabric", "plaster", "fabric", "stripes", repeat_m=0.6), yaw_rotation(yaw)
    b.box(moved(at, 0, 0.2, 0), (w, 0.2, d), look, turn)
    b.box(part(at, yaw, (0, 0.45, d - 0.1)), (w, 0.4, 0.12), look, turn)
    for side in (-1, 1):
        b.box(part(at, yaw, (side * (w - 0.08), 0.3, 0)), (0.1, 0.3, d), look, turn)
    cushion = b.look("fabric", "stripes", "checks", repeat_m=0.5)
    for _ in range(int(rng.integers(0, 4))):
        spot = part(at, yaw, (rng.uniform(-0.7, 0.7) * w, 0.58, d - 0.3))
        b.ball(spot, (0.22, 0.2, 0.09), cushion, turn)


def bed(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a bed with pillows and a blanket."""
    rng = b.rng
    w, length, turn = rng.uniform(0.45, 0.9), 1.0, yaw_rotation(yaw)
    b.box(moved(at, 0, 0.15, 0), (w, 0.15, length), b.look("wood", "plaster"), turn)
    b.box(moved(at, 0, 0.38, 0), (w - 0.02, 0.1, length - 0.02), b.look("fabric", tint=b.colour(0.6, 0.95)), turn)
    b.box(
        part(at, yaw, (0, 0.40, -0.25)),
        (w, 0.1, length - 0.25),
        b.look("fabric", "stripes", "checks", repeat_m=0.8),
        turn,
    )
    b.box(part(at, yaw, (0, 0.5, length)), (w, 0.5, 0.03), b.look("wood", "fabric"), turn)
    for side in (-0.5, 0.5):
        b.ball(
            part(at, yaw, (side * w, 0.53, length - 0.25)),
            (0.3, 0.1, 0.2),
            b.look("fabric", tint=b.colour(0.7, 0.95)),
            turn,
        )


def shelf(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a shelf with boards, books and things."""
    rng = b.rng
    w, height, d = rng.uniform(0.35, 0.9), rng.uniform(0.8, 2.2), rng.uniform(0.12, 0.22)
    look, turn = b.look(*_FURNITURE), yaw_rotation(yaw)
    for side in (-1, 1):
        b.box(part(at, yaw, (side * w, height / 2, 0)), (0.015, height / 2, d), look, turn)
    boards = int(rng.integers(3, 7))
    step = height / (boards - 1)
    for level in range(boards):
        b.box(moved(at, 0, level * step + 0.015, 0), (w, 0.015, d), look, turn)
        if level < boards - 1 and rng.random() < 0.75:
            filled, tall = rng.uniform(0.3, 0.95), rng.uniform(0.5, 0.9) * step / 2
            middle = rng.uniform(-1, 1) * (1 - filled) * w
            books = b.look("books", repeat_m=2 * tall, tint=(1.0, 1.0, 1.0))
            b.box(part(at, yaw, (middle, level * step + 0.03 + tall, -0.02)), (w * filled, tall, d * 0.8), books, turn)
        elif level < boards - 1:
            small_thing(b, part(at, yaw, (rng.uniform(-0.6, 0.6) * w, level * step + 0.03, 0)), yaw)
    if rng.random() < 0.5:
        b.box(part(at, yaw, (0, height / 2, d)), (w, height / 2, 0.01), look, turn)


def cabinet(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a cupboard or chest with doors and handles."""
    rng = b.rng
    w, height, d = (
        rng.uniform(0.3, 0.9),
        rng.choice((rng.uniform(0.4, 1.0), rng.uniform(1.6, 2.2))),
        rng.uniform(0.2, 0.32),
    )
    look, turn = b.look(*_FURNITURE, gloss=rng.uniform(0, 0.3)), yaw_rotation(yaw)
    b.box(moved(at, 0, height / 2, 0), (w, height / 2, d), look, turn)
    doors = int(rng.integers(1, 4))
    front = b.look(*_FURNITURE, tint=b.near(look.tint, 0.15))
    for door in range(doors):
        x = (2 * (door + 0.5) / doors - 1) * w
        b.box(part(at, yaw, (x, height / 2, -d)), (w / doors - 0.012, height / 2 - 0.03, 0.012), front, turn)
        b.box(
            part(at, yaw, (x + 0.7 * w / doors, height / 2, -d - 0.02)),
            (0.01, 0.06, 0.012),
            b.look("plaster", gloss=0.8),
            turn,
        )
    if height < 1.2:
        for _ in range(int(rng.integers(0, 4))):
            small_thing(b, part(at, yaw, (rng.uniform(-0.8, 0.8) * w, height, rng.uniform(-0.5, 0.5) * d)), yaw)


def plant(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a pot plant: a stem in a pot, with leaves."""
    rng = b.rng
    size, leaves = rng.uniform(0.25, 0.6), b.look("foliage", repeat_m=0.4, tint=leaf_tint(b))
    b.pole(at, 0.35 * size, 0.5 * size, b.look("plaster", "brick", repeat_m=0.5))
    b.pole(moved(at, 0, 0.5 * size, 0), 0.03 * size, 1.2 * size, b.look("bark", repeat_m=0.3, tint=(0.4, 0.3, 0.2)))
    for _ in range(int(rng.integers(6, 18))):
        direction = rng.normal(size=3)
        offset = direction / np.linalg.norm(direction) * size * rng.uniform(0.2, 0.7)
        shape = size * np.array([rng.uniform(0.12, 0.3), rng.uniform(0.05, 0.15), rng.uniform(0.02, 0.1)])
        b.ball(at + moved(offset, 0, 1.4 * size, 0), shape, leaves, any_turn(b))


def box_pile(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Boxes, crates, barrels and balls on and beside one another."""
    rng = b.rng
    height = 0.0
    for _ in range(int(rng.integers(1, 5))):
        half = rng.uniform(0.1, 0.45, 3)
        look = b.look("planks", "plaster", "picture", "wood", "checks", "stripes", "fabric", repeat_m=0.6)
        b.box(
            moved(at, rng.normal(0, 0.06), height + half[1], rng.normal(0, 0.06)),
            half,
            look,
            yaw_rotation(yaw + rng.normal(0, 0.3)),
        )
        height += 2 * half[1]
        if rng.random() < 0.4:
            break
    spot = part(at, yaw, (rng.uniform(0.5, 1.2), 0.0, rng.uniform(-0.6, 0.6)))
    r = rng.uniform(0.1, 0.4)
    if rng.random() < 0.5:
        b.ball(moved(spot, 0, r, 0), (r, r, r), b.look("checks", "stripes", "plaster", "picture", repeat_m=r * 2))
    else:
        b.pole(spot, r, r * rng.uniform(1.5, 3), b.look("plaster", "stripes", "planks", repeat_m=0.6))
    if rng.random() < 0.3:
        r2 = r * 0.7
        rotation = yaw_rotation(rng.uniform(0, 3.1)) @ UPRIGHT.T
        b.ball(
            moved(spot, 0.6, r2, 0.3),
            (r2 * 2, r2, r2),
            b.look("fabric", "plaster"),
            yaw_rotation(rng.uniform(0, 3)) if r2 > 0.2 else rotation,
        )
