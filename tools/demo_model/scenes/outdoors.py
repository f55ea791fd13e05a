"""Build outdoor layouts: streets, yards and parks, clearings and woods."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scenes.furniture import box_pile, chair, plant, table
from scenes.outdoor_things import (
    bench,
    bush,
    car,
    conifer,
    fence,
    house,
    lamp_post,
    person,
    rock,
    stairs,
    tree,
)
from scenes.placing import Place
from scenes.scene import Colour, SceneBuilder, colour_of, moved
from scenes.solids import Look, yaw_rotation

__all__ = ["clearing", "street", "yard"]

Array = npt.NDArray[np.float64]

_GRASS: Colour = (0.5, 0.62, 0.33)


def street(b: SceneBuilder) -> None:
    """Build a road between buildings, with cars, trees, lamps and people."""
    rng = b.rng
    half = rng.uniform(2.5, 6.0)
    walk = rng.uniform(1.2, 3.5)
    asphalt = b.look(
        "speckle", "speckle", "stone", "tile", repeat_m=rng.uniform(1, 3), tint=b.colour(0.2, 0.6, vivid=0.04)
    )
    _ground(b, asphalt)
    paving = b.look(
        "tile", "stone", "speckle", "brick", repeat_m=rng.uniform(0.8, 2), tint=b.colour(0.4, 0.9, vivid=0.08)
    )
    for side in (-1, 1):
        b.box((side * (half + walk / 2 + 4), 0.03, 60), (walk / 2 + 4, 0.1, 90), paving, structural=True)
    if rng.random() < 0.7:
        for z in np.arange(-2, 60, 4.0):
            b.box((0, 0.003, z), (0.07, 0.004, 1.2), b.look("plaster", tint=(0.9, 0.9, 0.85)))
    gaps = rng.random()
    for side in (-1, 1):
        _street_side(b, side, half, walk, gaps)
    if rng.random() < 0.5:
        car(b, np.array([rng.uniform(-1, 1) * half * 0.3, 0.0, rng.uniform(8, 35)]), rng.normal(0, 0.1))
    if rng.random() < 0.5:
        house(b, np.array([0.0, 0.0, rng.uniform(50, 90)]), 0.0, (rng.uniform(8, 20), 5.0), rng.uniform(5, 20))
    scene = b.scene
    scene.eye = np.array(
        [
            rng.uniform(-1, 1) * (half + 0.6 * walk),
            rng.uniform(1.2, 2.0) if rng.random() < 0.8 else rng.uniform(2, 7),
            0.0,
        ]
    )
    scene.yaw = float(rng.normal(-0.5 * scene.eye[0] / (half + walk), 0.25))
    scene.pitch = float(rng.normal(0.0 if scene.eye[1] < 2.1 else -0.15, 0.07))
    _horizon(b)
    _daylight(b)


def _street_side(b: SceneBuilder, side: int, half: float, walk: float, gaps: float) -> None:
    """Houses, what stands on the pavement, and parked cars; `gaps` 0..1 is how loosely the houses stand."""
    rng = b.rng
    z = rng.uniform(-6, 0)
    while z < 75:
        d, w = rng.uniform(3, 9), rng.uniform(3, 6)
        if rng.random() < 0.35 * gaps:
            _scatter(
                b,
                (tree, bush, conifer),
                3,
                (side * (half + walk + 5), z + d),
                (4, d),
            )
        else:
            height = rng.choice((rng.uniform(3, 8), rng.uniform(8, 22)), p=(0.5, 0.5))
            set_back = rng.exponential(1.0) * gaps
            spot = np.array([side * (half + walk + w + set_back), 0.1, z + d])
            house(b, spot, 0.0, (w, d), height)
        z += 2 * d + rng.exponential(2.5) * gaps + 0.05
    for _ in range(int(rng.integers(0, 6))):
        spot = np.array([side * (half + rng.uniform(0.3, 0.7) * walk), 0.12, rng.uniform(3, 45)])
        thing = (
            tree,
            lamp_post,
            lamp_post,
            person,
            person,
            bench,
            bush,
        )[int(rng.integers(7))]
        thing(b, spot, rng.uniform(0, 6.3))
    for z_car in np.arange(rng.uniform(3, 8), 45, rng.uniform(5, 9)):
        if rng.random() < 0.45:
            car(b, np.array([side * (half - 1.1), 0.0, z_car]), float(rng.normal(0 if side < 0 else np.pi, 0.03)))


def yard(b: SceneBuilder) -> None:
    """Build a garden, square or court, with a building or fence behind and objects in it."""
    rng = b.rng
    ground = b.look(
        "grass",
        "grass",
        "speckle",
        "tile",
        "stone",
        "dirt",
        repeat_m=rng.uniform(1, 2.5),
        tint=b.near(_GRASS, 0.2) if rng.random() < 0.5 else b.colour(0.35, 0.9, vivid=0.12),
    )
    _ground(b, ground)
    deep = rng.uniform(6, 25)
    for _ in range(int(rng.integers(1, 4))):
        house(b, np.array([rng.uniform(-1, 1) * deep, 0.0, deep + rng.uniform(0, 8)]), rng.normal(0, 0.3))
    for _ in range(int(rng.integers(0, 4))):
        fence(
            b,
            np.array([rng.uniform(-0.8, 0.8) * deep, 0.0, rng.uniform(0.4, 1.0) * deep]),
            rng.choice((0.0, np.pi / 2)) + rng.normal(0, 0.1),
        )
    things = (
        bush,
        person,
        bench,
        box_pile,
        rock,
        table,
        chair,
        tree,
        plant,
        car,
        stairs,
        lamp_post,
    )
    _scatter(b, things, int(rng.integers(5, 14)), (0.0, 0.55 * deep), (0.5 * deep, 0.42 * deep))
    if rng.random() < 0.5:
        path = b.look("tile", "stone", "dirt", "speckle", repeat_m=1.2)
        b.box(
            (rng.uniform(-2, 2), 0.01, deep / 2),
            (rng.uniform(0.5, 1.5), 0.012, deep),
            path,
            yaw_rotation(rng.normal(0, 0.3)),
            structural=True,
        )
    scene = b.scene
    scene.eye = np.array([0.0, rng.uniform(0.8, 2.0), -0.5])
    scene.yaw, scene.pitch = float(rng.normal(0, 0.2)), float(rng.normal(-0.06, 0.1))
    _horizon(b)
    _daylight(b)


def clearing(b: SceneBuilder) -> None:
    """Open country or a wood."""
    rng = b.rng
    ground = b.look(
        "grass",
        "grass",
        "dirt",
        "foliage",
        "speckle",
        "stone",
        repeat_m=rng.uniform(1, 3),
        tint=b.near(_GRASS, 0.25) if rng.random() < 0.65 else b.colour(0.4, 0.9, vivid=0.15),
    )
    _ground(b, ground)
    for _ in range(int(rng.integers(0, 6))):
        hill = b.look("grass", "foliage", "dirt", "stone", repeat_m=rng.uniform(2, 6), tint=b.near(ground.tint, 0.2))
        spot = (rng.uniform(-60, 60), -0.5, rng.uniform(25, 100))
        b.dome(spot, (rng.uniform(10, 50), rng.uniform(1.5, 14), rng.uniform(10, 40)), hill)
    wood = rng.random() < 0.45
    trees = (tree, conifer) if rng.random() < 0.5 else (tree,) if rng.random() < 0.5 else (conifer,)
    count = int(rng.integers(8, 18)) if wood else int(rng.integers(2, 8))
    _scatter(b, trees, count, (0.0, 18.0), (16.0, 14.0))
    small = (
        bush,
        rock,
        person,
        rock,
        bush,
        bench,
        fence,
    )
    _scatter(b, small, int(rng.integers(4, 14)), (0.0, 8.0), (6.0, 6.5))
    tuft = b.look("grass", "foliage", repeat_m=0.4, tint=b.near(ground.tint, 0.15))
    for _ in range(int(rng.integers(0, 40))):
        z = rng.uniform(0.8, 12)
        size = rng.uniform(0.08, 0.3)
        b.dome((rng.normal(0, 0.6) * z, -0.02, z), (size, size * rng.uniform(0.5, 1.2), size), tuft)
    if rng.random() < 0.4:
        path = b.look("dirt", "speckle", "stone", repeat_m=2.0)
        b.box(
            (rng.uniform(-2, 2), 0.006, 20),
            (rng.uniform(0.6, 2.5), 0.01, 40),
            path,
            yaw_rotation(rng.normal(0, 0.2)),
            structural=True,
        )
    scene = b.scene
    scene.eye = np.array([0.0, rng.uniform(0.6, 2.2), 0.0])
    scene.yaw, scene.pitch = float(rng.normal(0, 0.2)), float(rng.normal(-0.04, 0.1))
    _horizon(b)
    _daylight(b)


def _ground(b: SceneBuilder, look: Look) -> None:
    """Build the ground, level or slightly sloped."""
    tilt = b.rng.normal(0, 0.015, 2) if b.rng.random() < 0.6 else np.zeros(2)
    c, s = np.cos(tilt), np.sin(tilt)
    about_x = np.array([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]])
    about_z = np.array([[c[1], -s[1], 0], [s[1], c[1], 0], [0, 0, 1]])
    rotation = about_x @ about_z
    b.box(rotation @ np.array([0.0, -0.5, 0.0]), (250, 0.5, 250), look, rotation, structural=True)


def _scatter(
    b: SceneBuilder,
    things: tuple[Place, ...],
    count: int,
    middle: tuple[float, float],
    half: tuple[float, float],
) -> None:
    rng = b.rng
    for _ in range(count):
        x, z = middle[0] + rng.uniform(-1, 1) * half[0], middle[1] + rng.uniform(-1, 1) * half[1]
        things[int(rng.integers(len(things)))](b, np.array([x, 0.0, z]), rng.uniform(0, 6.3))


def _horizon(b: SceneBuilder) -> None:
    """Build the background: woods, houses or hills."""
    rng = b.rng
    if rng.random() < 0.1:
        return
    tint = b.near((0.35, 0.45, 0.3), 0.25)
    leaves = b.look("foliage", repeat_m=rng.uniform(2, 5), tint=tint)
    distance = rng.uniform(30, 90)
    kind = rng.integers(3)
    for angle in np.arange(-1.2, 1.2, rng.uniform(0.1, 0.25)):
        away = distance * rng.uniform(0.9, 1.2)
        spot = np.array([away * np.sin(angle), -0.5, away * np.cos(angle)])
        if kind == 0:
            b.dome(spot, (distance * rng.uniform(0.06, 0.16), rng.uniform(3, 10), distance * 0.08), leaves)
        elif kind == 1 and rng.random() < 0.6:
            wall = b.look("facade", repeat_m=6.0, tint=b.colour(0.4, 0.95))
            b.box(moved(spot, 0, 3, 0), (rng.uniform(3, 10), rng.uniform(2, 12), 4), wall, yaw_rotation(angle))
        else:
            b.dome(spot, (distance * rng.uniform(0.2, 0.5), rng.uniform(2, 14), distance * 0.2), leaves)


def _daylight(b: SceneBuilder) -> None:
    """Sun or overcast sky, with haze."""
    rng, scene = b.rng, b.scene
    azimuth, height = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(12, 70))
    direction = np.array([np.cos(height) * np.sin(azimuth), np.sin(height), np.cos(height) * np.cos(azimuth)])
    scene.light = scene.eye + 150.0 * direction
    low = float(np.clip(1.4 - height, 0, 1))
    overcast = rng.random() < 0.35
    sun = np.array([1.0, 0.97 - 0.2 * low, 0.9 - 0.4 * low]) * (
        rng.uniform(0.0, 0.5) if overcast else rng.uniform(1.6, 3.2)
    )
    sky = np.array([0.85, 0.92, 1.0]) if overcast else np.array([0.5, 0.68, 1.0])
    ambient = sky * rng.uniform(0.5, 0.9)
    scene.light_colour, scene.ambient = colour_of(sun), colour_of(ambient)
    scene.bounce = colour_of((ambient + 0.25 * sun) * rng.uniform(0.2, 0.45))
    scene.haze = float(rng.choice((rng.uniform(200, 900), rng.uniform(35, 200)), p=(0.7, 0.3)))
    bright = rng.uniform(0.8, 1.6)
    if overcast:
        grey = bright * rng.uniform(0.8, 1.1) * np.array([0.93, 0.96, 1.0])
        scene.horizon, scene.zenith = colour_of(grey), colour_of(0.85 * grey)
    else:
        scene.horizon = colour_of(bright * np.array([0.85, 0.9 - 0.1 * low, 0.98 - 0.3 * low]))
        scene.zenith = colour_of(bright * np.array([0.25, 0.45, 0.85]) * rng.uniform(0.7, 1.2))
    scene.clouds = (b.page("clouds"), float(rng.uniform(0.2, 1.0) if rng.random() < 0.75 else 0.0))
