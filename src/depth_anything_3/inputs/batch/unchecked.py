"""A batch whose decoded images may not have been written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from depth_anything_3.inputs.batch.batch import ProcessedBatch
from depth_anything_3.inputs.batch.records import OpenedImage
from depth_anything_3.inputs.decode.gpu.output_guard import GuardSamples

__all__ = ["UncheckedBatch", "UncheckedImages"]


@dataclass(frozen=True, eq=False)
class UncheckedImages:
    """Images that a decoder reported as decoded.

    Attributes:
        decoder: its name.
        images: the files, by slot of the batch, in the order of `samples`.
        samples: what shows whether they were written.
    """

    decoder: str
    images: Mapping[int, OpenedImage]
    samples: GuardSamples


@dataclass(frozen=True, eq=False)
class UncheckedBatch(ProcessedBatch):
    """A batch before it is handed over.

    Attributes:
        unchecked: images that may not have been written.
        slots: slot -> index in the batch; images that failed have none.
    """

    unchecked: tuple[UncheckedImages, ...] = ()
    slots: Mapping[int, int] = field(default_factory=dict)

    def unwritten(self) -> dict[int, tuple[OpenedImage, str]]:
        """Wait for the batch; return index -> file and reason for the images that were not written."""
        if self.unchecked and self.ready is not None:
            self.ready.synchronize()
        found: dict[int, tuple[OpenedImage, str]] = {}
        for one in self.unchecked:
            reason = f"{one.decoder} reported the image as decoded but did not write all of it"
            for (slot, image), unwritten in zip(one.images.items(), one.samples.unwritten(), strict=True):
                if unwritten:
                    found[self.slots[slot]] = image, reason
        return found

    def checked(self) -> ProcessedBatch:
        """Return the batch without what was needed for the check."""
        return ProcessedBatch(**{one.name: getattr(self, one.name) for one in fields(ProcessedBatch)})
