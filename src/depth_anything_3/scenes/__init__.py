"""A small ray caster that renders photo-like scenes with exact depth."""

from depth_anything_3.scenes.clip import Clip, render_clip
from depth_anything_3.scenes.render import Rendering, render, render_large
from depth_anything_3.scenes.textures import Atlas, make_atlas

__all__ = ["Atlas", "Clip", "Rendering", "make_atlas", "render", "render_clip", "render_large"]
