"""Frames that are on the GPU already, with streams played on the CPU."""

from __future__ import annotations

import torch

from depth_anything_3.inputs.batch.preparer import ImagePreparer
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.video.frame import Frame
from support.fake_streams import FakeCudaTensor, FakeEvent, FakeStream
from support.gpu_processors import gpu_processor


def test_the_assembler_waits_for_a_frames_own_event():
    event = FakeEvent()
    image = torch.zeros((3, 28, 42), dtype=torch.uint8).as_subclass(FakeCudaTensor)
    frame = Frame(image, 0.0, 7, 0.0, event)
    opened = ImagePreparer(PreprocessOptions(process_res=28)).open(0, frame.as_source())
    assert opened.ready is event
    assembler = gpu_processor()._assembler
    assembler._stream = FakeStream()
    pixels = torch.ones((1, 3, *opened.plan.result_hw), dtype=torch.uint8)
    assembler._resample_frames([opened], pixels, None)
    assert assembler._stream.waited == [event]
    assert opened.data.streams == [assembler._stream]
    assert not pixels.any()


def test_a_frame_is_named_by_its_index():
    assert Frame(torch.zeros((3, 4, 4), dtype=torch.uint8), 0.0, 7, 0.0).as_source().label.startswith("image 7 ")
