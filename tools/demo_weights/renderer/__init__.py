"""A small ray caster that renders photo-like scenes with exact depth."""

from renderer.render import Rendering, render, render_large
from renderer.textures import Atlas, make_atlas

__all__ = ["Atlas", "Rendering", "make_atlas", "render", "render_large"]
