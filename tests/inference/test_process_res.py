"""`process_res` that the caller does not give is the best one of the model; the demonstration model says what it is."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from depth_anything_3.api import DepthAnything3
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.model.catalog import MODEL_CARDS
from depth_anything_3.utils.io.input_processor import InputProcessor

IMAGE = np.zeros((60, 80, 3), np.uint8)

WAYS = {
    "inference": lambda model, **size: model.inference([IMAGE], **size),
    "depth": lambda model, **size: model.depth(IMAGE, **size),
    "stream": lambda model, **size: next(iter(model.stream([IMAGE], **size))),
    "batch_inference": lambda model, **size: model.batch_inference([IMAGE], **size)[0],
    "stream_video": lambda model, **size: next(iter(model.stream_video([IMAGE], **size)))[1],
}


@pytest.fixture(scope="module")
def nano() -> DepthAnything3:
    return DepthAnything3.from_pretrained("da3-nano", "cpu")


@pytest.mark.parametrize("way", WAYS)
def test_the_model_decides_unless_the_caller_does(nano, way):
    assert WAYS[way](nano).depth.shape == (1, 168, 224)
    assert WAYS[way](nano, process_res=56).depth.shape == (1, 42, 56)


def test_a_given_504_stays(nano):
    assert nano.depth(IMAGE, process_res=504).depth.shape == (1, 378, 504)


@pytest.mark.parametrize(("name", "expected"), [(name, 224 if name == "da3-nano" else 504) for name in MODEL_CARDS])
def test_the_best_size_of_each_model(name, expected):
    best = MODEL_CARDS[name].best_process_res
    assert PreprocessOptions().for_model(best).process_res == expected
    assert PreprocessOptions(process_res=98).for_model(best) == PreprocessOptions(process_res=98)


def test_a_processor_without_a_model_takes_504():
    assert InputProcessor().views([IMAGE]).tensor.shape == (1, 3, 378, 504)


def test_a_given_processor_gets_a_number(nano):
    seen = []

    def process(images, extrinsics, intrinsics, process_res, method, **_options):
        seen.append(process_res)
        return InputProcessor()(images, process_res=28)

    nano.input_processor = process
    try:
        nano.inference([IMAGE])
        nano.depth(IMAGE, process_res=504)
    finally:
        nano.input_processor = None
    assert seen == [224, 504]


def test_the_help_names_every_model_with_a_size_of_its_own():
    (option,) = (one for one in fields(PreprocessOptions) if one.name == "process_res")
    own = [f"{name}: {card.best_process_res}" for name, card in MODEL_CARDS.items() if card.best_process_res]
    assert option.metadata["default"] == "; ".join(["504", *own])


def test_the_demonstration_model_says_once_what_it_is(seeded_small, caplog):
    model = DepthAnything3.from_pretrained("da3-nano", "cpu")
    assert caplog.messages == []  # nothing is computed yet
    model.depth([IMAGE, IMAGE], process_res=28)
    model.inference([IMAGE], process_res=28)
    assert caplog.messages == [
        "da3-nano is a demonstration: a small network, trained on rendered scenes only; for real use, pass "
        "pretrained_model_name_or_path='da3-small'"
    ]
    seeded_small.depth(IMAGE, process_res=28)
    assert len(caplog.records) == 1
