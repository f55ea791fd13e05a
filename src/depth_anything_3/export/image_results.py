"""Write the results of independent images while they are computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depth_anything_3.export.checks import check_writing
from depth_anything_3.export.fields import IN_MEMORY, AvailableFields
from depth_anything_3.export.naming import ResultNames
from depth_anything_3.export.options import ExportKwargs, ExportOptions
from depth_anything_3.export.registry import DEFAULT_FORMAT, ExportFormat
from depth_anything_3.export.results import export
from depth_anything_3.inference.options import StreamKwargs, StreamOptions
from depth_anything_3.inputs.discover import FoundImage

if TYPE_CHECKING:
    from depth_anything_3.inputs.given_images import GivenImages
    from depth_anything_3.model.catalog import ModelCard
    from depth_anything_3.prediction import Prediction

__all__ = ["DepthKwargs", "ImageResults"]


class DepthKwargs(StreamKwargs, ExportKwargs, total=False):
    """Keyword arguments of calls that compute independent images and may write the results."""


class ImageResults:
    """Writes the results of independent images, named as `da3 images` names them.

    A file's results have its name without suffix, see `naming.result_names`; those of pixels or bytes in memory are
    named by index, `image_0003`. A name that was used before gets a number, `photo_2`, so nothing is overwritten.

    Args:
        export_dir: output folder; created if missing.
        formats: the formats.
        options: options of the writers.
        folder: folder that the images were found in, whose subfolders are mirrored; None: each image's own.
    """

    def __init__(
        self, export_dir: Path, formats: tuple[ExportFormat, ...], options: ExportOptions, folder: Path | None = None
    ) -> None:
        self._export_dir, self._formats, self._options, self._folder = export_dir, formats, options, folder
        self._names = ResultNames()
        self._used: Counter[str] = Counter()

    @classmethod
    def parse(
        cls,
        given: Mapping[str, Any],  # Any: values of different types
        card: ModelCard,
        options: StreamOptions,
        images: GivenImages,
    ) -> ImageResults | None:
        """Check and build what writes results from the keyword arguments of a public function.

        Args:
            given: keyword arguments; those that are not of `ExportKwargs` are ignored.
            card: the model.
            options: preprocessing and network.
            images: the images, and the folder that they were found in.

        Returns:
            None without `export_dir`.

        Raises:
            InvalidInputError, UnsupportedError, ExportError: see `check_writing`.
        """
        names = {one.name for one in fields(ExportOptions)}
        kept = {name: value for name, value in given.items() if name in names}
        writing = ExportOptions(**{**kept, "export_kwargs": kept.get("export_kwargs") or {}})
        available = AvailableFields.expected(
            card,
            views=1,
            gaussians=options.network.infer_gs,
            features=bool(options.network.export_feat_layers),
            paths=images.may_be_paths,
            cropped=options.preprocess.process_res_method.crops,
        )
        export_dir = given.get("export_dir")
        formats = check_writing(export_dir, given.get("export_format", DEFAULT_FORMAT), writing, available)
        return None if export_dir is None else cls(Path(export_dir), formats, writing, images.folder)

    def written(self, predictions: Iterator[Prediction]) -> Iterator[Prediction]:
        """Write each prediction, then yield it.

        Raises:
            ExportError: a file cannot be written.
        """
        with closing(predictions):  # type: ignore[type-var]  # a generator
            for prediction in predictions:
                name = self._name(prediction.sources[0])
                export(prediction, self._export_dir, self._formats, name, self._options)
                yield prediction

    def _name(self, label: str) -> str:
        in_memory = IN_MEMORY.fullmatch(label)
        if in_memory:
            name = f"image_{int(in_memory[1]):04}"
        else:
            path = Path(label)
            name = self._names.of(FoundImage(path, self._folder or path.parent))
        unique = name
        while self._used[unique.casefold()]:
            self._used[name.casefold()] += 1
            unique = f"{name}_{self._used[name.casefold()]}"
        self._used[unique.casefold()] = 1
        return unique
