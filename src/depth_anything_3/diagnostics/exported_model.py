"""Verify an exported model on this machine, in everything that can run it here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from depth_anything_3.api import DepthAnything3
from depth_anything_3.errors import InvalidInputError
from depth_anything_3.exported.reference import NetworkReference, Reference, StoredReference
from depth_anything_3.exported.runtimes.installed import read_metadata
from depth_anything_3.exported.specification import GraphMetadata
from depth_anything_3.exported.verification import OnStep, Verification
from depth_anything_3.exported.verification_inputs import VerificationImages, bundled_images
from depth_anything_3.exported.verify_file import verify_file
from depth_anything_3.exported.weights import weights_hash
from depth_anything_3.model.catalog import MODEL_CARDS, ModelCard
from depth_anything_3.model.hub_cache import is_cached

__all__ = ["check_exported_model"]


def check_exported_model(path: Path, model_dir: str | None, images: Sequence[Path], on_step: OnStep) -> Verification:
    """Compare an exported file, on every provider of every installed library that runs it, with what it should compute.

    It is compared with the torch network if its weights are at hand: in `model_dir`, in the hub's cache, or bundled.
    Otherwise it is compared with the depth of the bundled images that was stored in the file when it was exported,
    which is at one size, and of depth alone.

    Args:
        path: the file.
        model_dir: the checkpoint that was exported; None: look for it without the network.
        images: to compare on besides the bundled ones.
        on_step: called with a line before each step.

    Raises:
        CheckpointNotFoundError, CheckpointFormatError: the file or checkpoint is missing or damaged.
        InvalidInputError: the checkpoint is another one, or there is nothing to compare with.
        UnsupportedError: no library that runs the file is installed.
        ImageReadError, ImageDecodeError: an image cannot be used.
    """
    metadata = read_metadata(path)
    on_step("loading what to compare with")
    reference = _reference(path, metadata, model_dir)
    if images and not reference.is_complete:
        raise InvalidInputError(
            f"{path}: stored results are of the bundled images; to verify with others, pass model_dir with the "
            f"checkpoint of {metadata.model} that was exported"
        )
    used = VerificationImages([*images, *bundled_images()])
    return verify_file(path, metadata, reference, used, on_step, every_provider=True)


def _reference(path: Path, metadata: GraphMetadata, model_dir: str | None) -> Reference:
    card = MODEL_CARDS.get(metadata.model)
    name = model_dir if model_dir is not None else None if card is None else _at_hand(card)
    if name is not None:
        model = DepthAnything3.from_pretrained(name, "cpu", "float32")
        if weights_hash(model.model) == metadata.weights_sha256:
            return NetworkReference(model.model, model.card)
        if model_dir is not None:
            raise InvalidInputError(
                f"model_dir={model_dir!r}: its weights are not those that {path} was exported from "
                f"({metadata.model}); pass that checkpoint, or omit it to compare with the results stored in the file"
            )
    if not metadata.reference:
        raise InvalidInputError(
            f"{path}: it holds no results to compare with; pass model_dir with the checkpoint of {metadata.model} that "
            "was exported"
        )
    return StoredReference.from_text(metadata.reference)


def _at_hand(card: ModelCard) -> str | None:
    """Return the name of a checkpoint of a model that needs no download."""
    if card.is_demonstration:
        return card.name
    return next((one for one in card.hub_ids if is_cached(one)), None)
