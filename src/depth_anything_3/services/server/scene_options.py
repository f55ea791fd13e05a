"""Options of a scene, from the JSON that a client sends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from depth_anything_3.errors import InvalidInputError
from depth_anything_3.export.format_options import Colormap
from depth_anything_3.export.options import ExportOptions
from depth_anything_3.inference.options import NetworkOptions
from depth_anything_3.inference.views import ViewOptions
from depth_anything_3.inputs.choices import MixedSizes
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.model.choices import RefViewStrategy
from depth_anything_3.runtime.option_values import positive_int

__all__ = ["SCENE_FORMATS", "SceneOptions"]

SCENE_FORMATS = ("glb", "ply", "npz", "mini_npz", "depth_png", "depth_vis", "depth_color", "tiff", "exr", "colmap")
"""Formats that a client may ask for."""

_DEFAULT_FORMATS = ("glb", "ply", "npz", "depth_png")
_MAX_POINTS = 5_000_000
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "str | None": (str,),
}


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """What the part `options` of a form may hold; see docs/serve.md.

    Raises:
        InvalidInputError: a value is not accepted.
    """

    process_res: int | None = None
    process_res_method: str | None = None
    fidelity: str | None = None
    mixed_sizes: str = MixedSizes.CROP.value
    use_ray_pose: bool = False
    ref_view_strategy: str = RefViewStrategy.SADDLE_BALANCED.value
    conf_thresh_percentile: float = 40.0
    num_max_points: int = 1_000_000
    show_cameras: bool = True
    colormap: str = Colormap.SPECTRAL.value
    formats: Sequence[str] = _DEFAULT_FORMATS

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            types = _TYPES.get(str(one.type))
            if types is not None and value != one.default and not _is_of(value, types):
                raise InvalidInputError(f"{one.name}={value!r}: give a value of type {one.type}")
        asked = self.formats
        if not isinstance(asked, (list, tuple)) or not asked or not all(isinstance(one, str) for one in asked):
            raise InvalidInputError(f"formats={asked!r}: give a list of names, such as ['glb', 'npz']")
        for one in asked:
            if one not in SCENE_FORMATS:
                raise InvalidInputError(
                    f"formats: {one[:40]!r} is unknown; this server writes {', '.join(SCENE_FORMATS)}"
                )
        if positive_int("num_max_points", self.num_max_points) > _MAX_POINTS:
            raise InvalidInputError(f"num_max_points={self.num_max_points}: give {_MAX_POINTS:,} or less")
        self.views(), self.export()

    @classmethod
    def parse(cls, text: str) -> SceneOptions:
        """Parse the JSON of a client; an empty text gives the defaults.

        Raises:
            InvalidInputError: it is not a JSON object, or has a name or value that is not accepted.
        """
        try:
            values = json.loads(text) if text.strip() else {}
        except (ValueError, RecursionError):
            raise InvalidInputError('options: not JSON; send an object such as {"process_res": 504}') from None
        if not isinstance(values, dict):
            raise InvalidInputError('options: send a JSON object such as {"process_res": 504}')
        known = [one.name for one in fields(cls)]
        for name in values:
            if name not in known:
                raise InvalidInputError(f"options: unknown name {name[:40]!r}; it takes {', '.join(known)}")
        return cls(**values)

    def views(self) -> ViewOptions:
        """Return the options of the preprocessing and the network."""
        given: dict[str, Any] = {  # Any: the record parses the strings
            name: getattr(self, name)
            for name in ("process_res", "process_res_method", "fidelity", "mixed_sizes")
            if getattr(self, name) is not None
        }
        network = NetworkOptions(
            use_ray_pose=self.use_ray_pose, ref_view_strategy=RefViewStrategy(self.ref_view_strategy)
        )
        return ViewOptions(preprocess=PreprocessOptions(**given), network=network)

    def export(self) -> ExportOptions:
        """Return the options of the writers."""
        return ExportOptions(
            conf_thresh_percentile=self.conf_thresh_percentile,
            num_max_points=self.num_max_points,
            show_cameras=self.show_cameras,
            colormap=self.colormap,
        )


def _is_of(value: object, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))
