"""Build random plants, people, vehicles and buildings of solids, at a given place."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scenes.placing import any_turn, leaf_tint, part
from scenes.scene import SceneBuilder, moved
from scenes.solids import Look, yaw_rotation

__all__ = ["bench", "bush", "car", "conifer", "fence", "house", "lamp_post", "person", "rock", "stairs", "tree"]

Array = npt.NDArray[np.float64]


def tree(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a broad-leaved tree: trunk, branches and a crown of leaf clusters."""
    rng = b.rng
    tall = rng.uniform(3, 12)
    trunk = b.look("bark", repeat_m=0.8, tint=b.near((0.45, 0.36, 0.28), 0.2))
    girth, crown = tall * rng.uniform(0.018, 0.035), tall * rng.uniform(0.22, 0.38)
    fork = tall * rng.uniform(0.25, 0.5)
    b.pole(at, girth, fork * 1.2, trunk)
    middle = moved(at, 0, fork + crown * 0.8, 0)
    leaves = b.look("foliage", repeat_m=rng.uniform(1.0, 2.2), tint=leaf_tint(b))
    count = int(rng.integers(10, 28))
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    spots = middle + directions * (crown * rng.uniform(0.35, 0.9, (count, 1))) * (1.0, rng.uniform(0.7, 1.2), 1.0)
    for i, spot in enumerate(spots):
        size = crown * rng.uniform(0.22, 0.5)
        b.ball(spot, size * rng.uniform(0.6, 1.15, 3), leaves, any_turn(b))
        if i < 4:
            b.bar(moved(at, 0, fork, 0), spot, girth * 0.5, trunk)


def conifer(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a fir: tiers of narrowing half ellipsoids."""
    rng = b.rng
    tall = rng.uniform(3, 14)
    b.pole(at, 0.02 * tall, 0.3 * tall, b.look("bark", tint=(0.35, 0.26, 0.2)))
    needles = b.look("foliage", repeat_m=rng.uniform(0.8, 1.8), tint=b.near((0.28, 0.42, 0.27), 0.2))
    tiers = int(rng.integers(3, 7))
    width = tall * rng.uniform(0.13, 0.24)
    for tier in range(tiers):
        share = tier / tiers
        spread = width * (1 - 0.85 * share)
        b.dome(moved(at, 0, tall * (0.15 + 0.75 * share), 0), (spread, tall * 0.85 / tiers * 1.5, spread), needles)


def bush(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a bush of leaf clusters."""
    rng = b.rng
    size, leaves = rng.uniform(0.3, 1.0), b.look("foliage", repeat_m=rng.uniform(0.5, 1.2), tint=leaf_tint(b))
    for _ in range(int(rng.integers(4, 14))):
        offset = rng.normal(0, 0.4, 3) * size * (1.2, 0.5, 1.2)
        radii = size * rng.uniform(0.25, 0.55, 3)
        b.ball(moved(at, offset[0], abs(offset[1]) + 0.3 * size, offset[2]), radii, leaves, any_turn(b))


def rock(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a rock: two or three flattened balls and a tilted box."""
    rng = b.rng
    size, look = (
        rng.uniform(0.15, 0.9),
        b.look("stone", "dirt", "speckle", repeat_m=rng.uniform(0.5, 1.5), tint=b.colour(0.3, 0.8, vivid=0.1)),
    )
    for _ in range(int(rng.integers(1, 4))):
        offset = rng.normal(0, 0.35, 3) * size * (1, 0.2, 1)
        b.ball(at + offset, size * rng.uniform(0.4, 1.0, 3) * (1, 0.7, 1), look, any_turn(b))
    if rng.random() < 0.5:
        b.box(moved(at, 0, 0.1 * size, 0), size * rng.uniform(0.3, 0.7, 3), look, any_turn(b))


def car(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a car or van: body, cabin, windows and wheels."""
    rng = b.rng
    length, w = rng.uniform(1.8, 2.4), rng.uniform(0.8, 0.95)
    van = rng.random() < 0.2
    paint, turn = (
        b.look("plaster", repeat_m=3.0, tint=b.colour(0.05, 0.95, vivid=rng.uniform(0, 0.9)), gloss=0.9),
        yaw_rotation(yaw),
    )
    glass, dark = b.look("plaster", tint=(0.08, 0.1, 0.12), gloss=1.0), b.look("plaster", tint=(0.05, 0.05, 0.05))
    body = rng.uniform(0.25, 0.32)
    b.box(moved(at, 0, 0.28 + body, 0), (w, body, length), paint, turn)
    b.ball(part(at, yaw, (0, 0.3 + 1.6 * body, 0)), (w * 1.0, body * 0.7, length * 0.99), paint, turn)
    roof = rng.uniform(0.5, 0.9) if van else rng.uniform(0.26, 0.34)
    back = 0.15 if van else rng.uniform(0.0, 0.3)
    cabin = length * (0.8 if van else rng.uniform(0.45, 0.6))
    base = 0.28 + 2 * body
    b.box(part(at, yaw, (0, base + roof * 0.9, back)), (w * 0.86, roof, cabin), paint, turn)
    b.box(part(at, yaw, (0, base + roof * 0.95, back)), (w * 0.88, roof * 0.6, cabin * 0.85), glass, turn)
    b.box(part(at, yaw, (0, base + roof * 0.95, back)), (w * 0.76, roof * 0.65, cabin * 1.01), glass, turn)
    for sx in (-1, 1):
        for sz in (-1, 1):
            inner, outer = (
                part(at, yaw, (sx * (w - 0.2), 0.31, sz * 0.62 * length)),
                part(at, yaw, (sx * (w + 0.01), 0.31, sz * 0.62 * length)),
            )
            b.bar(inner, outer, 0.31, dark)
        b.box(
            part(at, yaw, (sx * 0.7 * w, 0.3 + 1.2 * body, -length)),
            (0.15, 0.06, 0.02),
            b.look("plaster", tint=(0.95, 0.95, 0.9), gloss=1.0),
            turn,
        )
        b.box(
            part(at, yaw, (sx * 0.75 * w, 0.3 + 1.3 * body, length)),
            (0.12, 0.07, 0.02),
            b.look("plaster", tint=(0.7, 0.05, 0.05), gloss=1.0),
            turn,
        )


def house(
    b: SceneBuilder, at: Array, yaw: float, half: tuple[float, float] | None = None, height: float | None = None
) -> None:
    """Build a house: walls with windows, sometimes a gable roof, a door and balconies."""
    rng = b.rng
    w, d = half or (rng.uniform(3, 8), rng.uniform(3, 8))
    tall = height or rng.choice((rng.uniform(2.6, 7), rng.uniform(7, 25)), p=(0.6, 0.4))
    storeys, turn = max(1, round(tall / 3.0)), yaw_rotation(yaw)
    wall = b.look("facade", repeat_m=1.0, tint=b.colour(0.45, 1.0))
    wall = Look(wall.page, 2 * tall / storeys, wall.tint)
    b.box(moved(at, 0, tall / 2, 0), (w, tall / 2, d), wall, turn)
    if tall < 10 and rng.random() < 0.7:
        roof = b.look(
            "tile",
            "planks",
            "brick",
            "stripes",
            repeat_m=rng.uniform(1, 2),
            tint=b.near(((0.55, 0.28, 0.2), (0.3, 0.3, 0.32), (0.5, 0.4, 0.3))[int(rng.integers(3))], 0.2),
        )
        tilt = rng.uniform(0.45, 0.8)
        slope = w / np.cos(tilt) / 2 + 0.25
        for side in (-1, 1):
            c, s = np.cos(side * tilt), np.sin(side * tilt)
            lean = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
            spot = part(at, yaw, (side * (w / 2 + 0.1), tall + w / 2 * np.tan(tilt) - 0.05, 0))
            b.box(spot, (slope, 0.08, d + 0.4), roof, turn @ lean)
        b.box(
            part(at, yaw, (0, tall + 0.22 * w * np.tan(tilt), 0)),
            (w * 0.5, 0.24 * w * np.tan(tilt), d - 0.05),
            b.look("planks", "plaster", repeat_m=2, tint=wall.tint),
            turn,
        )
    else:
        b.box(
            moved(at, 0, tall + 0.15, 0),
            (w + 0.15, 0.2, d + 0.15),
            b.look("plaster", "stone", repeat_m=2, tint=b.near(wall.tint, 0.2)),
            turn,
        )
    for side in (-1, 1):
        b.box(
            part(at, yaw, (rng.uniform(-0.6, 0.6) * w, 1.05, side * d)),
            (0.5, 1.05, 0.05),
            b.look("wood", "planks"),
            turn,
        )
    ledge = b.look("plaster", repeat_m=2, tint=b.near(wall.tint, 0.2))
    for storey in range(1, storeys) if rng.random() < 0.5 else ():
        b.box(moved(at, 0, storey * tall / storeys, 0), (w + 0.08, 0.08, d + 0.08), ledge, turn)


def lamp_post(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a street lamp, sign or bollard."""
    rng = b.rng
    metal = b.look("plaster", tint=b.colour(0.08, 0.6, vivid=0.05), gloss=0.5)
    kind, tall = rng.integers(3), rng.uniform(3.5, 7)
    if kind == 0:
        b.pole(at, 0.06, tall, metal)
        b.bar(moved(at, 0, tall, 0), part(at, yaw, (1.2, tall + 0.1, 0)), 0.04, metal)
        b.box(part(at, yaw, (1.2, tall + 0.05, 0)), (0.3, 0.06, 0.12), metal, yaw_rotation(yaw))
    elif kind == 1:
        b.pole(at, 0.035, 2.4, metal)
        sign = b.look("picture", "stripes", repeat_m=0.6, tint=(1.0, 1.0, 1.0))
        b.box(moved(at, 0, 2.3, 0), (0.3, 0.3, 0.01), sign, yaw_rotation(yaw))
    else:
        b.pole(at, 0.09, 0.9, metal)
        b.ball(moved(at, 0, 0.9, 0), (0.1, 0.1, 0.1), metal)


def fence(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a wall, a hedge, or a fence of posts and rails."""
    rng = b.rng
    length, tall, turn = rng.uniform(2, 10), rng.uniform(0.7, 1.8), yaw_rotation(yaw)
    kind = rng.integers(3)
    if kind == 0:
        b.box(
            moved(at, 0, tall / 2, 0),
            (length, tall / 2, 0.12),
            b.look("brick", "stone", "plaster", "planks", repeat_m=1.2),
            turn,
        )
        b.box(moved(at, 0, tall, 0), (length + 0.05, 0.05, 0.18), b.look("plaster", "stone"), turn)
    elif kind == 1:
        b.box(
            moved(at, 0, tall / 2, 0),
            (length, tall / 2, 0.35),
            b.look("foliage", repeat_m=1.0, tint=leaf_tint(b)),
            turn,
        )
    else:
        wood = b.look("wood", "planks", "plaster")
        for x in np.arange(-length, length, 1.8):
            b.box(part(at, yaw, (x, tall / 2, 0)), (0.05, tall / 2, 0.05), wood, turn)
        for share in (0.35, 0.65, 0.95):
            b.box(moved(at, 0, share * tall, 0), (length, 0.05, 0.025), wood, turn)


def bench(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a park bench."""
    wood, turn = b.look("planks", "wood"), yaw_rotation(yaw)
    b.box(moved(at, 0, 0.45, 0), (0.8, 0.03, 0.22), wood, turn)
    b.box(part(at, yaw, (0, 0.7, 0.24)), (0.8, 0.2, 0.025), wood, turn)
    for side in (-0.65, 0.65):
        b.box(part(at, yaw, (side, 0.22, 0)), (0.04, 0.22, 0.2), b.look("plaster", tint=(0.2, 0.2, 0.2)), turn)


def stairs(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Build a flight of steps, sometimes with a rail."""
    rng = b.rng
    w, rise, going, count = (
        rng.uniform(0.5, 1.6),
        rng.uniform(0.14, 0.2),
        rng.uniform(0.26, 0.36),
        int(rng.integers(3, 12)),
    )
    look, turn = b.look("stone", "wood", "plaster", "tile", "planks"), yaw_rotation(yaw)
    for step in range(count):
        tall = (step + 1) * rise
        b.box(part(at, yaw, (0, tall / 2, step * going)), (w, tall / 2, going / 2 + 0.005), look, turn)
    if rng.random() < 0.5:
        rail = b.look("plaster", tint=b.colour(0.05, 0.6))
        for side in (-w, w):
            b.bar(
                part(at, yaw, (side, rise + 0.9, 0)),
                part(at, yaw, (side, count * rise + 0.9, (count - 1) * going)),
                0.03,
                rail,
            )
            for step in range(0, count, 3):
                b.pole(part(at, yaw, (side, (step + 1) * rise, step * going)), 0.02, 0.9, rail)


def person(b: SceneBuilder, at: Array, yaw: float) -> None:
    """Somebody standing or walking, of rounded limbs."""
    rng = b.rng
    tall = rng.uniform(1.45, 1.95) if rng.random() < 0.85 else rng.uniform(0.9, 1.4)
    skin = b.look(
        "plaster", tint=b.near(((0.85, 0.65, 0.52), (0.55, 0.38, 0.28), (0.35, 0.23, 0.17))[int(rng.integers(3))])
    )
    top = b.look(
        "fabric", "stripes", "plaster", "checks", repeat_m=0.5, tint=b.colour(0.05, 0.95, vivid=rng.uniform(0, 0.8))
    )
    legs = b.look("fabric", "plaster", repeat_m=0.5, tint=b.colour(0.05, 0.5))
    turn = yaw_rotation(yaw)
    stride = rng.normal(0, 0.12) * tall
    hip, shoulder = 0.5 * tall, 0.82 * tall
    for side in (-1, 1):
        foot = part(at, yaw, (side * 0.06 * tall, 0.0, side * stride))
        b.bar(foot, part(at, yaw, (side * 0.05 * tall, hip, 0)), 0.045 * tall, legs)
        b.ball(moved(foot, 0, 0.03, 0), (0.05, 0.04, 0.13), b.look("plaster", tint=b.colour(0.03, 0.5)), turn)
        hand = part(at, yaw, (side * rng.uniform(0.14, 0.22) * tall, rng.uniform(0.45, 0.7) * tall, -side * stride))
        b.bar(part(at, yaw, (side * 0.12 * tall, shoulder - 0.03, 0)), hand, 0.028 * tall, top)
        b.ball(hand, (0.04, 0.05, 0.04), skin)
    b.ball(moved(at, 0, (hip + shoulder) / 2, 0), (0.125 * tall, 0.6 * (shoulder - hip), 0.08 * tall), top, turn)
    b.ball(moved(at, 0, hip, 0), (0.105 * tall, 0.08 * tall, 0.08 * tall), legs, turn)
    b.ball(moved(at, 0, 0.93 * tall, 0), (0.048 * tall, 0.068 * tall, 0.056 * tall), skin, turn)
    hair = b.look("bark", repeat_m=0.2, tint=b.colour(0.03, 0.4, vivid=0.3))
    b.ball(part(at, yaw, (0, 0.955 * tall, 0.015)), (0.052 * tall, 0.055 * tall, 0.056 * tall), hair, turn)
