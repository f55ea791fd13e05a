"""The GPU processor where memory runs out: batches shrink, decoders give memory back, and nothing is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import DeviceMemoryError, UnsupportedError
from depth_anything_3.inputs.batch import gpu_decoders
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from support.faulty_decoder import FaultyDecoder
from support.gpu_processors import CUDA, GPU, MIXED, assert_same, gpu_processor, strategies
from support.images import jpeg
from support.little_memory import ASSEMBLY, SHORTAGES, LittleMemory, LittleMemoryDecoder, run_out_of_memory

SMALL = PreprocessOptions(process_res=56)


@pytest.fixture
def clock(monkeypatch):
    """The time that decoders rest by; set `clock[0]`."""
    now = [0.0]
    monkeypatch.setattr(gpu_decoders, "monotonic", lambda: now[0])
    return now


def inputs(phase):
    """Six images that need this phase: those on the GPU are decoded there, the others uploaded."""
    return [(photo if phase in ("upload", "normalise") else jpeg)(120, 90, seed) for seed in range(6)]


def streamed(processor, images, batch_size=6, **options):
    """The images of a stream in order, and the sizes of its batches."""
    batches = list(processor.batches(images, SMALL, batch_size=batch_size, **options))
    assert not [one for one in batches if isinstance(one, ImageFailure)]
    return {one.index: pixels for batch in batches for one, pixels in zip(batch.images, batch.pixels, strict=True)}, [
        len(batch.images) for batch in batches
    ]


def assert_all(found, cpu, images):
    expected = cpu.views(images, SMALL).pixels
    assert sorted(found) == list(range(len(images)))
    for index, pixels in found.items():
        assert (pixels.int() - expected[index].int()).abs().max() <= 1


@pytest.mark.parametrize("library", SHORTAGES)
@pytest.mark.parametrize("phase", ASSEMBLY)
def test_a_passing_shortage_while_a_batch_is_assembled_costs_only_time(cpu, monkeypatch, phase, library):
    memory, decoder = LittleMemory(SHORTAGES[library], times=1), FaultyDecoder()
    with gpu_processor(decoder) as processor:
        run_out_of_memory(monkeypatch, phase, memory, processor)
        found, sizes = streamed(processor, inputs(phase))
    assert memory.failed == 1
    assert sizes == [6]
    assert_all(found, cpu, inputs(phase))


@pytest.mark.parametrize("phase", ASSEMBLY)
def test_a_batch_that_memory_does_not_hold_is_assembled_in_halves(cpu, monkeypatch, phase):
    memory, told = LittleMemory(fits=2), []
    with gpu_processor() as processor:
        run_out_of_memory(monkeypatch, phase, memory, processor)
        found, sizes = streamed(processor, inputs(phase), on_shortage=lambda *one: told.append(one))
    assert sizes == [1, 2, 1, 2]
    assert told == [((42, 56), 6), ((42, 56), 3), ((42, 56), 3)]
    assert_all(found, cpu, inputs(phase))


@pytest.mark.parametrize("phase", ASSEMBLY)
def test_an_image_that_does_not_fit_alone_fails_and_the_others_follow(monkeypatch, phase):
    with gpu_processor() as processor:
        run_out_of_memory(monkeypatch, phase, LittleMemory(fits=0), processor)
        found = list(processor.batches(inputs(phase)[:3], SMALL, batch_size=2))
    assert [one.index for one in found] == [0, 1, 2]
    for one in found:
        assert isinstance(one.error, DeviceMemoryError)
        assert one.error.args[0].startswith(f"{one.label}: too large for the memory of cpu at 56x42 (CUDA error: out")


def test_a_shortage_that_comes_back_makes_later_batches_smaller(monkeypatch):
    memory, told = LittleMemory(times=1), []
    images = inputs("resample") * 3

    def shrink(*one):
        told.append(one)

    with gpu_processor() as processor:
        run_out_of_memory(monkeypatch, "output", memory, processor)
        for _batch in processor.batches(images, SMALL, batch_size=6, on_shortage=shrink):
            memory._times = 1  # each batch fails at first, and then has enough
    assert set(told) == {((42, 56), 6)}


@pytest.mark.parametrize("phase", ASSEMBLY)
def test_views_are_tried_twice_and_then_named_too_many(cpu, monkeypatch, phase):
    images = inputs(phase)
    memory, decoder = LittleMemory(times=1), FaultyDecoder()
    with gpu_processor(decoder) as processor:
        run_out_of_memory(monkeypatch, phase, memory, processor)
        assert_same(processor.views(images, SMALL), cpu.views(images, SMALL))
        memory._fits = 5
        with pytest.raises(DeviceMemoryError, match=r"^cpu: memory ran out \(CUDA error: out of memory\); use fewer"):
            processor.views(images, SMALL)


def test_views_of_mixed_sizes_that_memory_does_not_join_are_named_too_many(monkeypatch):
    def full(*_):
        raise SHORTAGES["MPS"]

    monkeypatch.setattr("depth_anything_3.inputs.batch.processor.crop_or_pad", full)
    with gpu_processor() as processor, pytest.raises(DeviceMemoryError, match=r"^cpu: memory ran out"):
        processor.views([jpeg(120, 90), jpeg(90, 120)], SMALL)


def test_other_errors_while_a_batch_is_assembled_stay_what_they_are(monkeypatch):
    with gpu_processor() as processor:
        run_out_of_memory(monkeypatch, "output", LittleMemory(RuntimeError("shapes"), times=9), processor)
        with pytest.raises(RuntimeError, match=r"^shapes$"):
            list(processor.batches([jpeg()], SMALL))


def test_a_shortage_gives_back_the_decoders_memory_and_torchs(monkeypatch):
    emptied = []
    monkeypatch.setattr("depth_anything_3.inputs.batch.processor.empty_cache", emptied.append)
    decoder, memory = FaultyDecoder(), LittleMemory()
    with gpu_processor(decoder) as processor:
        streamed(processor, inputs("resample"))
        run_out_of_memory(monkeypatch, "output", memory, processor)
        memory._times = 1
        streamed(processor, inputs("resample"))
        assert (decoder.closed, emptied) == (1, [processor.device])


# The decoders' own shortages


@pytest.mark.parametrize("reasons", [False, True], ids=["raised", "returned"])
@pytest.mark.parametrize("library", SHORTAGES)
def test_a_decoder_short_of_memory_for_a_moment_decodes_all_files(cpu, library, reasons):
    decoder = LittleMemoryDecoder(LittleMemory(SHORTAGES[library], times=1), reasons=reasons and library != "Python")
    images = inputs("decode")
    with gpu_processor(decoder) as processor:
        batch = processor.views(images, SMALL)
        assert decoder.closed == 1
    assert strategies(batch) == [GPU] * 6
    assert decoder._memory.asked == [6, 3, 3]
    assert_same(batch, cpu.views(images, SMALL))


def test_files_that_memory_does_not_hold_together_are_decoded_in_smaller_calls(cpu):
    decoder = LittleMemoryDecoder(LittleMemory(fits=2))
    images = inputs("decode")
    with gpu_processor(decoder) as processor:
        batch = processor.views(images, SMALL)
    assert decoder._memory.asked == [6, 3, 1, 2, 3, 1, 2]
    assert strategies(batch) == [GPU] * 6
    assert_same(batch, cpu.views(images, SMALL))


def test_of_a_call_only_the_files_without_memory_are_decoded_again(cpu):
    images = inputs("decode")
    short = {images[1], images[4]}

    def refuse(data):
        found = data in short
        short.discard(data)
        return "stand-in: allocator failure" if found else None

    decoder = FaultyDecoder(refuse=refuse)
    with gpu_processor(decoder) as processor:
        batch = processor.views(images, SMALL)
    assert decoder.calls == [6, 1, 1]
    assert strategies(batch) == [GPU] * 6
    assert_same(batch, cpu.views(images, SMALL))


def test_without_memory_a_decoder_rests_and_the_cpu_decodes_until_it_is_tried_again(cpu, clock, caplog):
    decoder = LittleMemoryDecoder(LittleMemory(fits=0))
    images = inputs("decode")
    with gpu_processor(decoder) as processor:
        batch = processor.views(images, SMALL)
        assert strategies(batch) == [MIXED] * 6
        assert batch.images[0].choice.reason == "stand-in: CUDA error: out of memory"
        assert_same(batch, cpu.views(images, SMALL))
        tried = len(decoder._memory.asked)
        assert tried < 6
        assert "decoding on the CPU for 1 s, because memory ran out: stand-in: CUDA error" in caplog.text
        clock[0] = 0.9
        assert strategies(processor.views(images, SMALL)) == [MIXED] * 6
        assert len(decoder._memory.asked) == tried
        clock[0] = 1.1  # still no memory: it rests twice as long
        assert strategies(processor.views(images, SMALL)) == [MIXED] * 6
        decoder._memory._fits = 99
        clock[0] = 3.0
        assert strategies(processor.views(images, SMALL)) == [MIXED] * 6
        clock[0] = 3.2
        assert strategies(processor.views(images, SMALL)) == [GPU] * 6
        assert [one.name for one in processor.capabilities.decoders] == ["stand-in"]


def test_a_decoder_rests_no_longer_than_a_minute(clock):
    decoder = LittleMemoryDecoder(LittleMemory(fits=0))
    with gpu_processor(decoder) as processor:
        for _ in range(20):
            clock[0] += 60.1
            tried = len(decoder._memory.asked)
            processor.views([jpeg()], SMALL)
            assert len(decoder._memory.asked) > tried


@pytest.mark.parametrize("library", SHORTAGES)
def test_a_decoder_that_had_no_memory_to_open_is_opened_later(cpu, clock, library):
    memory, good = LittleMemory(SHORTAGES[library], times=2), FaultyDecoder()

    def opened(name, device):
        try:
            memory.ask(1)
        except RuntimeError as error:  # as adapters do
            raise UnsupportedError(f"{name} is not usable on {device}: {error}") from error
        return good

    with GPUInputProcessor("cpu", capabilities=CUDA, open_decoder=opened) as processor:
        assert strategies(processor.views([jpeg()], SMALL)) == [MIXED]
        assert strategies(processor.views([jpeg()], SMALL)) == [MIXED]
        clock[0] = 1.1
        assert strategies(processor.views([jpeg()], SMALL)) == [GPU]


def test_where_little_memory_is_free_a_decoder_is_not_excluded_whatever_it_says(clock, monkeypatch):
    calls = []

    def opened(name, device):
        calls.append(name)
        raise UnsupportedError("stand-in could not decode the file")

    monkeypatch.setattr(gpu_decoders, "memory_is_scarce", lambda device: True)
    with GPUInputProcessor("cpu", capabilities=CUDA, open_decoder=opened) as processor:
        assert strategies(processor.views([jpeg()], SMALL)) == [MIXED]
        assert processor.capabilities.decoders == CUDA.decoders
        clock[0], tried = 1.1, len(calls)
        monkeypatch.setattr(gpu_decoders, "memory_is_scarce", lambda device: False)
        assert strategies(processor.views([jpeg()], SMALL)) == [MIXED]
        assert len(calls) == tried + 1
        assert processor.capabilities.decoders == ()


def test_full_size_images_are_uploaded_a_budget_at_a_time(cpu, monkeypatch):
    monkeypatch.setattr("depth_anything_3.inputs.batch.gpu_assembler.memory_budget", lambda device: 8 * 3 * 120 * 90)
    memory, images = LittleMemory(), inputs("upload")
    with gpu_processor(capabilities=replace(CUDA, decoders=())) as processor:
        run_out_of_memory(monkeypatch, "resample", memory, processor)
        batch = processor.views(images, replace(SMALL, strategy="full_gpu"))
    assert memory.asked == [2, 2, 2]
    assert_same(batch, cpu.views(images, SMALL))
