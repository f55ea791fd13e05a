"""Complete the values of flags in a shell."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["complete_choices", "complete_formats", "complete_models"]

_JOIN = "-"


def complete_choices(metavar: str) -> Callable[[str], list[str]] | None:
    """Make a completion of the words of `auto|cpu|cuda`; None if it is no list of choices.

    Values to be replaced, such as N, and values with a colon, at which bash splits words, are left to the user.
    """
    words = [one for one in metavar.split("|") if one.islower() and ":" not in one]
    if "|" not in metavar or not words:
        return None

    def complete(incomplete: str) -> list[str]:
        return [one for one in words if one.startswith(incomplete)]

    return complete


def complete_formats(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Make a completion of formats joined with '-': of the last one, by those that are not there yet."""
    known = tuple(names)

    def complete(incomplete: str) -> list[str]:
        joined, dash, last = incomplete.rpartition(_JOIN)
        given = joined.split(_JOIN)
        return [f"{joined}{dash}{one}" for one in known if one.startswith(last) and one not in given]

    return complete


def complete_models(incomplete: str) -> list[str]:
    """Complete presets, hub ids and the bundled model; paths are completed by the shell."""
    from depth_anything_3.model.catalog import MODEL_CARDS

    names = (name for card in MODEL_CARDS.values() for name in (card.name, *card.hub_ids))
    return [one for one in dict.fromkeys(names) if one.startswith(incomplete)]
