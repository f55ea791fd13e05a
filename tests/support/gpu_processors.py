"""GPU input processors on the CPU, with a decoder that stands in for a GPU's, and comparison of their batches."""

from __future__ import annotations

from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.routing.strategy import Capabilities
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from support.faulty_decoder import EXACT, FaultyDecoder
from support.images import largest_difference

GPU, MIXED, FULL, CPU = Strategy.GPU_DECODE, Strategy.HYBRID, Strategy.FULL_GPU, Strategy.CPU
CUDA = Capabilities("cuda", "stand-in", (EXACT,), jpeg_engines=1)


def gpu_processor(decoder=None, capabilities=CUDA, **options):
    decoder = decoder or FaultyDecoder()
    return GPUInputProcessor("cpu", capabilities=capabilities, open_decoder=lambda name, device: decoder, **options)


def strategies(batch):
    return [one.choice.strategy for one in batch.images]


def assert_same(batch, expected, levels=1):
    assert largest_difference(batch.pixels.numpy(), expected.pixels.numpy()) <= levels
    assert [one.label for one in batch.images] == [one.label for one in expected.images]
    assert [one.plan for one in batch.images] == [one.plan for one in expected.images]


def broken_inside(data):
    """A JPEG with a sound header and an end marker that no decoder can read: its quantisation tables are gone."""
    return data.replace(b"\xff\xdb", b"\xff\xef")
