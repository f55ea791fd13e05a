"""Pictures in, a depth result on disk for each picture out, and a report of how it went."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depth_anything_3.errors import ExportError, ImageReadError, ImageSizeError, InvalidInputError
from depth_anything_3.export import AvailableFields, ExportFormat, ExportOptions, check_formats, export, result_files
from depth_anything_3.export.registry import Formats
from depth_anything_3.inference.batch_limit import BatchLimit
from depth_anything_3.inputs.failure import ImageFailure, OnError
from depth_anything_3.inputs.plan.resize_plan import ProcessResMethod
from depth_anything_3.inputs.routing.capabilities import find_capabilities
from depth_anything_3.inputs.routing.strategy import Capabilities, Choice, Fidelity, Request, Strategy, check_strategy
from depth_anything_3.jobs.background_writer import BackgroundWriter
from depth_anything_3.prediction import Prediction
from depth_anything_3.prediction.metric import Metres
from depth_anything_3.runtime.atomic_file import whole_file
from depth_anything_3.utils.io.input_processor import InputProcessor

if TYPE_CHECKING:
    import torch

    from depth_anything_3.api import DepthAnything3

__all__ = ["RunReport", "check_options", "export_names", "run_images", "run_scene"]

logger = logging.getLogger(__name__)

_LONGEST = 200  # bytes of a joined path; most file systems take 255 with number and suffix
_ASIDE = re.compile(r"\.[0-9a-f]{32}\.[a-z0-9]+")  # what `whole_file` writes to before a file has its name


@dataclass
class RunReport:
    """How a run went.

    Attributes:
        images: pictures whose results were written.
        skipped: pictures whose results were there already.
        failures: name and reason of each picture that was left out.
        wall_seconds: from the first picture asked for to the last file written; neither loading weights
            nor compiling is in it.
        stage_seconds: time spent by stage; decode and resample are summed over workers, and stages overlap.
        export_dir: where the results are.
        strategies: how many pictures took each way to the network's memory, by way and by reason.
        focal_lengths: where the focal lengths behind metres came from, and of how many pictures.
        device, network: what computed.
        stopped_by: what ended the run before its last picture: "Ctrl-C", "SIGTERM", or an error's message.
    """

    images: int = 0
    skipped: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)
    wall_seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)
    export_dir: str = ""
    strategies: dict[str, dict[str, int]] = field(default_factory=dict)
    focal_lengths: dict[str, int] = field(default_factory=dict)
    device: str = ""
    network: str = ""
    stopped_by: str | None = None

    @classmethod
    def of(cls, model: DepthAnything3, export_dir: str | os.PathLike[str]) -> RunReport:
        """The report of a run that has not begun."""
        return cls(export_dir=os.fspath(export_dir), device=str(model.device), network=model.model_name)

    @property
    def images_per_second(self) -> float:
        """Pictures written per second of wall time."""
        return self.images / self.wall_seconds if self.wall_seconds else 0.0

    def add_prediction(self, prediction: Prediction, export_seconds: float) -> None:
        """Record what was computed and written: a picture, or the views of a scene."""
        self.images += len(prediction.depth)
        for stage, seconds in {**prediction.seconds, "export": export_seconds}.items():
            self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + seconds
        self.add_choices(prediction.choices)

    def add_choices(self, choices: Sequence[Choice]) -> None:
        """Record the ways that pictures took."""
        for one in choices:
            reasons = self.strategies.setdefault(one.strategy.value, {})
            reasons[one.reason] = reasons.get(one.reason, 0) + 1

    def add_focal_lengths(self, origins: Sequence[str]) -> None:
        """Record where focal lengths came from."""
        for one in origins:
            self.focal_lengths[one] = self.focal_lengths.get(one, 0) + 1

    def add_failure(self, failure: ImageFailure) -> None:
        """Record a picture that was left out."""
        self.failures.append({"image": failure.label, "error": str(failure.error)})

    def as_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """Everything, as JSON takes it."""
        return {**asdict(self), "images_per_second": self.images_per_second}

    def write(self, path: Path) -> None:
        """Write everything as JSON.

        Raises:
            ExportError: the file cannot be written.
        """
        with whole_file(path) as aside:
            aside.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")


def export_names(paths: Sequence[Path]) -> list[str]:
    """A different file name for each picture's results.

    Its own less the suffix, where another picture has that its whole name, where another has that too its path joined
    with underscores (the end of it, if that is too long for a file name), and if need be a number behind.
    """
    stems = Counter(path.stem.casefold() for path in paths)  # some file systems take IMG and img for one
    names = Counter(path.name.casefold() for path in paths)
    taken: set[str] = set()
    result = []
    for path in paths:
        if stems[path.stem.casefold()] == 1:
            wish = path.stem
        elif names[path.name.casefold()] == 1:
            wish = path.name
        else:
            wish = "_".join(part for part in _below_here(path).parts if part not in (os.sep, ".."))
            if len(os.fsencode(wish)) > _LONGEST:
                wish = os.fsencode(wish)[-_LONGEST:].decode(errors="ignore")  # a cut letter goes
        wish = wish if wish.strip(".") else f"_{wish}"  # as the name of a folder, dots would lead out of it
        numbered = (f"{wish}_{number}" for number in count(2))
        name = next(one for one in chain([wish], numbered) if one.casefold() not in taken)
        taken.add(name.casefold())
        result.append(name)
    return result


def _below_here(path: Path) -> Path:
    try:
        return Path(os.path.relpath(path))
    except ValueError:  # Windows, another drive
        return path.relative_to(path.anchor)


def check_options(
    device: torch.device,
    *,
    strategy: str = Strategy.AUTO.value,
    fidelity: str = Fidelity.EXACT.value,
    on_error: str = OnError.RAISE.value,
    batch_size: int | str = 1,
    max_batch_size: int = 1,
    target_memory_utilization: float = 1.0,
    **options: Any,  # Any: the other options of BatchProcessor.batches
) -> None:
    """Refuse options of the input pipeline that are not accepted, before anything is read or loaded.

    Args:
        device: of the network.
        strategy, fidelity, on_error, batch_size, max_batch_size, target_memory_utilization, options: as for
            `DepthAnything3.stream`.

    Raises:
        InvalidInputError: an option is not accepted.
    """
    OnError(on_error)
    BatchLimit(batch_size, device, most=max_batch_size, utilization=target_memory_utilization)
    request = Request.of(strategy, fidelity)
    if request.strategy not in (Strategy.AUTO, Strategy.CPU):
        check_strategy(Capabilities() if device.type == "cpu" else find_capabilities(device), request)
    with InputProcessor() as processor:
        processor.batches([], strategy=Strategy.CPU, **options)


def run_images(
    model: DepthAnything3,
    paths: Sequence[Path],
    export_dir: str | os.PathLike[str],
    export_format: Formats,
    *,
    export_options: ExportOptions | None = None,
    metres: Metres | None = None,
    resume: bool = False,
    report_file: Path | None = None,
    on_progress: Callable[[], None] = lambda: None,
    **options: Any,  # Any: the options of DepthAnything3.stream
) -> RunReport:
    """Depth of independent pictures, written as they are ready, in order, while the network goes on.

    Ctrl-C ends it when what has been computed is written.

    Args:
        model: the network.
        paths: pictures, in order.
        export_dir, export_format, export_options: where results go, in which formats, joined with '-', and how.
        metres: write depth in metres; a picture whose focal length is not known fails.
        resume: go on with a run that was stopped or killed, given as it was then: a picture whose results are all
            there is skipped, and what a killed run left half written is removed. With other options than then, the old
            results stay. No other run may be writing to the folder.
        report_file: where the report goes as JSON at the end, also when an error or Ctrl-C ends the run.
        on_progress: called once for each picture: written, failed or skipped; in the thread that writes.
        options: passed on to `DepthAnything3.stream`.

    Raises:
        DA3Error: with `on_error="raise"`, the first picture's error; what was computed before is written.
        ExportError: a file cannot be written; nothing after it is.
        UnsupportedError: the model does not predict what a format or metres need.
    """
    formats = _check_wishes(model, export_format, export_options, metres, options, views=1)
    target, report, writer = Path(export_dir), RunReport.of(model, export_dir), BackgroundWriter()
    # Of the whole list, so that a picture's name does not depend on which others are skipped.
    names = dict(zip(map(str, paths), export_names(paths), strict=True))
    if resume:
        _remove_leftovers(target, result_files(target, formats, "any", export_options))
        paths = [
            path for path in paths if not _is_done(result_files(target, formats, names[str(path)], export_options))
        ]
    for _ in range(len(names) - len(paths)):
        report.skipped += 1
        on_progress()

    def note(failure: ImageFailure) -> None:
        report.add_failure(failure)
        on_progress()

    def write(prediction: Prediction) -> None:
        exporting = time.perf_counter()
        if metres is not None:
            try:
                prediction, origins = metres.of(prediction)
            except InvalidInputError as error:
                if OnError(options.get("on_error", OnError.RAISE)) is OnError.RAISE:
                    raise
                note(ImageFailure(report.images, prediction.sources[0], error))
                return
            report.add_focal_lengths(origins)
        export(prediction, target, formats, names[prediction.sources[0]], export_options)
        report.add_prediction(prediction, time.perf_counter() - exporting)
        on_progress()

    # Failures go through the writer to be told in their order, and so that one thread alone fills the report.
    # Called before anything is written: misuse, which it refuses, leaves no report.
    predictions = model.stream(paths, on_failure=lambda one: writer.put(partial(note, one)), **options)
    model.input_processor.warm_up()
    with _reported(report, report_file), writer:
        for prediction in predictions:
            writer.put(partial(write, prediction))
    return report


@contextmanager
def _reported(report: RunReport, file: Path | None) -> Iterator[None]:
    """Time the block, note what ends it early, and write the report at its end."""
    began = time.perf_counter()
    try:
        yield
    except BaseException as error:  # Ctrl-C too
        report.stopped_by = str(error) or ("Ctrl-C" if isinstance(error, KeyboardInterrupt) else repr(error))
        raise
    finally:
        report.wall_seconds = time.perf_counter() - began
        try:
            if file is not None:
                report.write(file)
        except ExportError as error:
            if report.stopped_by is None:
                raise
            logger.warning("no report: %s", error)  # what stopped the run is the error to tell


def _check_wishes(
    model: DepthAnything3,
    export_format: Formats,
    export_options: ExportOptions | None,
    metres: Metres | None,
    options: Mapping[str, Any],
    *,
    views: int,
) -> tuple[ExportFormat, ...]:
    """The formats; raises an error for those, and for units, that the model cannot give, before an image is read."""
    available = AvailableFields.expected(
        model.card,
        views=views,
        intrinsics=metres is not None or options.get("intrinsics") is not None,
        gaussians=bool(options.get("infer_gs")),
        features=bool(options.get("export_feat_layers")),
        cropped=ProcessResMethod(options.get("process_res_method", ProcessResMethod.UPPER_BOUND_RESIZE)).crops,
    )
    formats = check_formats(export_format, available, export_options)
    if metres is not None:
        metres.check(model.card)
    return formats


def _is_done(files: Sequence[Path]) -> bool:
    """Whether a picture's results are all there. Files appear whole or not at all, so what is there is whole."""
    try:
        # Not whole: a power cut can leave the name of a file whose content had not reached the disk.
        return all(os.stat(file).st_size > 0 for file in files)
    except OSError:
        return False


def _remove_leftovers(export_dir: Path, files: Sequence[Path]) -> None:
    """Remove what a killed run had begun to write, in the folders where results such as `files` are."""
    folders = {file.parent for file in files}
    folders |= {one for folder in folders if folder.parent != export_dir for one in folder.parent.glob("*/")}
    for folder in (export_dir, *sorted(folders)):
        # There may be no such folder yet; what cannot be removed does no harm.
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if _ASIDE.fullmatch(entry.name):
                    os.unlink(entry)


def run_scene(
    model: DepthAnything3,
    paths: Sequence[Path],
    export_dir: str | os.PathLike[str],
    export_format: Formats,
    *,
    export_options: ExportOptions | None = None,
    metres: Metres | None = None,
    **options: Any,  # Any: the options of DepthAnything3.inference
) -> RunReport:
    """Depth and cameras of pictures that are views of one scene, written in upstream's layout.

    Args:
        model, paths, export_dir, export_format, export_options, metres: as for `run_images`.
        options: passed on to `DepthAnything3.inference`.

    Raises:
        DA3Error: with `on_error="raise"`, the first view's error; with "skip" it is in the report.
    """
    formats = _check_wishes(model, export_format, export_options, metres, options, views=len(paths))
    report = RunReport.of(model, export_dir)
    model.input_processor.warm_up()
    began = time.perf_counter()
    try:
        prediction = model.inference(paths, **options)
    except (ImageReadError, ImageSizeError) as error:
        if OnError(options.get("on_error", OnError.RAISE)) is OnError.RAISE:
            raise
        name = str(paths[0]) if len(paths) == 1 else f"all {len(paths)} views"
        report.failures = [{"image": name, "error": str(error)}]
        report.wall_seconds = time.perf_counter() - began
        return report
    exporting = time.perf_counter()
    if metres is not None:
        prediction, origins = metres.of(prediction)
        report.add_focal_lengths(origins)
    export(prediction, Path(export_dir), formats, options=export_options)
    done = time.perf_counter()
    report.add_prediction(prediction, done - exporting)
    for failure in prediction.failures:
        report.add_failure(failure)
    report.wall_seconds = done - began
    return report
