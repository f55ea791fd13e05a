"""Render photo-like scenes with exact depth, with a small ray caster."""

from scenes.clip import Clip, render_clip
from scenes.render import Rendering, render, render_large
from scenes.textures import Atlas, make_atlas

__all__ = ["Atlas", "Clip", "Rendering", "make_atlas", "render", "render_clip", "render_large"]
