"""`Sink`: takes the results of stored images; and its options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from depth_anything_3.errors import ExportError, InvalidInputError
from depth_anything_3.jobs.shards import Shard
from depth_anything_3.jobs.sinks.place import Place
from depth_anything_3.jobs.temporary_files import MIN_AGE_S
from depth_anything_3.prediction import Prediction
from depth_anything_3.runtime.option_values import StringEnum, positive_int

__all__ = ["Pack", "Sink", "SinkOptions", "other_shards"]

DEFAULT_PART_SIZE = 1000


class Pack(StringEnum):
    """How results are packed."""

    FILES = "files"
    WEBDATASET = "webdataset"
    PARQUET = "parquet"


@dataclass(frozen=True, kw_only=True)
class SinkOptions:
    """Options of a sink.

    Attributes:
        pack: "files", one a format and image; "webdataset", tars; or "parquet".
        part_size: results in a tar or parquet file.
        resume: skip what is complete.
        overwrite: with `resume`, results of other settings are replaced instead of an error; without, all are.
        shard: the part of the images that the run computes; None: all. Shards of one count may write to one place at
            the same time.

    Raises:
        InvalidInputError: a value is not accepted.
    """

    pack: Pack = Pack.FILES
    part_size: int = DEFAULT_PART_SIZE
    resume: bool = False
    overwrite: bool = False
    shard: Shard | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pack", Pack(self.pack))
        positive_int("part_size", self.part_size)

    @property
    def min_age_s(self) -> float:
        """Age of temporary files that a resumed run removes, in seconds; younger ones may be those of other shards."""
        return 0.0 if self.shard is None else MIN_AGE_S


def other_shards(place: Place) -> InvalidInputError:
    """Make the error of a shard that would replace all results of a place."""
    return InvalidInputError(
        f"{place.name}: overwrite=True would remove the results of other shards; choose another folder"
    )


class Sink(ABC):
    """Takes results one after another, in one thread. Leaving the `with` block completes what is open.

    Attributes:
        place: where results are written.
    """

    place: Place

    @abstractmethod
    def is_done(self, id: str, label: str) -> bool:
        """Whether the result of an image is complete; only with `resume`. Called in another thread."""

    @abstractmethod
    def write(self, id: str, label: str, prediction: Prediction) -> list[str]:
        """Write the result of an image; return its files, if it has some of its own.

        Raises:
            ExportError: it cannot be written.
        """

    @abstractmethod
    def fail(self, id: str, error: Exception) -> None:
        """Record that an image failed. Errors as in `write`."""

    @abstractmethod
    def close(self, *, aborted: bool) -> None:
        """Complete what is open; `aborted`: nothing can be written any more. Errors as in `write`."""

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, kind: type[BaseException] | None, *left_by: object) -> None:
        self.close(aborted=kind is not None and issubclass(kind, ExportError))
