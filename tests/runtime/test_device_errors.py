"""Errors of devices: out of memory, lost, and others."""

from __future__ import annotations

import pytest
import torch

from depth_anything_3.errors import DeviceError, DeviceMemoryError
from depth_anything_3.runtime.device_errors import error_reason, out_of_memory, translate_device_errors
from support.little_memory import OTHER_ERRORS, SHORTAGES, UNRELATED

CUDA = torch.device("cuda", 1)


@pytest.mark.parametrize("library", SHORTAGES)
def test_a_shortage_of_memory_is_recognised_by_the_text_of_every_library(library):
    error = SHORTAGES[library]
    assert out_of_memory(error)
    told = r"^cuda:1: memory ran out \(.+\); use fewer views"
    with pytest.raises(DeviceMemoryError, match=told), translate_device_errors(CUDA):
        raise error


@pytest.mark.parametrize("library", OTHER_ERRORS)
def test_a_lost_device_is_no_shortage_of_memory(library):
    with pytest.raises(DeviceError, match=r"^cuda:1: the device failed") as caught, translate_device_errors(CUDA):
        raise RuntimeError(OTHER_ERRORS[library])
    assert not isinstance(caught.value, DeviceMemoryError)


@pytest.mark.parametrize("text", UNRELATED)
def test_other_errors_pass(text):
    with pytest.raises(RuntimeError, match=text) as caught, translate_device_errors(CUDA):
        raise RuntimeError(text)
    assert type(caught.value) is RuntimeError


def test_only_errors_of_the_runtime_are_judged_by_their_text():
    assert not out_of_memory(ValueError("the hotel is out of memory foam"))


def test_an_error_without_text_is_named_by_its_type():
    assert error_reason(MemoryError()) == "MemoryError"
    assert error_reason(RuntimeError("one\ntwo")) == "one"
