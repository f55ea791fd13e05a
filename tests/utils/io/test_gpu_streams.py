"""What the GPU pipeline waits for, on records of CUDA's streams and events."""

from __future__ import annotations

import pytest
import torch

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.inference import runner
from depth_anything_3.inputs.batch import gpu_assembler, staging
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.runtime import cuda_events
from support.fake_cuda import FakeEvent, frame_on_gpu, play_cuda
from support.faulty_decoder import LyingDecoder
from support.gpu_processors import assert_same, gpu_processor
from support.images import jpeg

FILES = [jpeg(120, 90, seed) for seed in range(4)]


def test_files_and_pixels_do_not_wait_for_the_callers_stream(monkeypatch):
    with gpu_processor() as processor:
        log = play_cuda(monkeypatch, processor)
        processor([FILES[0], photo(120, 90, 1)], process_res=56)
        list(processor.batches(FILES, PreprocessOptions(process_res=56), batch_size=2))
    assert log == []


def test_frames_on_the_gpu_wait_once_for_what_their_caller_has_queued(monkeypatch, cpu):
    pixels = photo(120, 90, 1)
    with gpu_processor() as processor:
        log = play_cuda(monkeypatch, processor)
        batch = processor([frame_on_gpu(pixels)], process_res=56)
        assert log == [("assembler", "caller")]
        processor(FILES, process_res=56)
        assert log == [("assembler", "caller")]
    assert_same(batch, cpu([torch.from_numpy(pixels).permute(2, 0, 1)], process_res=56))


def test_frames_of_a_stream_wait_for_every_stream_that_was_current(monkeypatch):
    with gpu_processor() as processor:
        log = play_cuda(monkeypatch, processor)
        side = type(torch.cuda.current_stream())(log, "side")
        with torch.cuda.stream(side):
            batches = processor.batches(
                [FILES[0], frame_on_gpu(photo(90, 120, 1))], PreprocessOptions(process_res=56), batch_size=1
            )
        list(batches)
    assert sorted(log) == [("assembler", "caller"), ("assembler", "side")]


def test_only_batches_of_a_guarded_decoder_are_waited_for_by_the_host(monkeypatch):
    with gpu_processor(LyingDecoder()) as processor:
        log = play_cuda(monkeypatch, processor)
        monkeypatch.setattr(gpu_assembler, "record_event", lambda device: FakeEvent(log, "batch"))
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
        processor([photo(120, 90, 1)], process_res=56)
        assert log == [("caller", "batch")]
        log.clear()
        processor(FILES, process_res=56)
    assert log == [("host", "batch"), ("caller", "batch")]


@pytest.mark.parametrize("wait", [cuda_events.record_event, cuda_events.wait_for_stream])
def test_events_that_the_host_waits_for_block_instead_of_spinning(monkeypatch, wait):
    made = []

    class Event:
        def __init__(self, **options):
            made.append(options)

        def record(self, stream):
            assert stream == "current"

        def synchronize(self):
            pass

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "current")
    wait(torch.device("cuda", 0))
    assert made == [{"blocking": True}]
    assert cuda_events.record_event(torch.device("cpu")) is None


@pytest.mark.parametrize("module", [runner, staging])
def test_the_runner_and_the_staging_ring_use_these_events(module):
    assert module.record_event is cuda_events.record_event


def test_staging_waits_only_for_the_copy_before_last(monkeypatch):
    log = []
    ring = staging.Staging(torch.device("cpu"))
    numbers = iter(range(10))

    class Event:
        def __init__(self):
            self.number = next(numbers)

        def synchronize(self):
            log.append(self.number)

    monkeypatch.setattr(staging, "record_event", lambda device: Event())
    pixels = torch.zeros((2, 3, 14, 14), dtype=torch.uint8)
    image = photo(14, 14, 1).transpose(2, 0, 1)
    for _ in range(4):
        ring.upload([image], [1], pixels)
    assert log == [0, 1]
    assert torch.equal(pixels[1], torch.from_numpy(image.copy()))
