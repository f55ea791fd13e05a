"""The GPU processor with a stand-in for the GPU and its decoder: real routing, fallbacks and batches."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import DA3Error, InvalidInputError, UnsupportedError
from depth_anything_3.inputs.batch import gpu_assembler
from depth_anything_3.inputs.choices import Strategy
from depth_anything_3.inputs.failure import ImageFailure
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.resample.layout import ImageLayout
from depth_anything_3.inputs.routing.strategy import Capabilities
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from support.faulty_decoder import NEAREST, FaultyDecoder
from support.gpu_processors import CPU, CUDA, FULL, GPU, MIXED, assert_same, broken_inside, gpu_processor, strategies
from support.images import encoded, exif_block, jpeg, largest_difference, psnr, write


@pytest.fixture
def every_kind(tmp_path):
    """One image size, every kind of input, and the strategy of each on a machine with a JPEG engine."""
    return [
        (write(tmp_path / "a.jpg", jpeg(120, 90, 0)), GPU),
        (jpeg(120, 90, 1, progressive=True), MIXED),
        (bytearray(jpeg(120, 90, 2)), GPU),
        (write(tmp_path / "b.png", encoded(photo(120, 90, 3), "PNG")), MIXED),
        (Image.fromarray(photo(120, 90, 4)), MIXED),
        (photo(120, 90, 5), MIXED),
        (photo(120, 90, 6)[..., ::-1], MIXED),
        (torch.from_numpy(photo(120, 90, 7)).permute(2, 0, 1), FULL),  # on the device that stands in for the GPU
        (jpeg(90, 120, 8, exif=exif_block(6)), GPU),
        (encoded(Image.fromarray(photo(120, 90, 9)).convert("L")), GPU),
        (encoded(Image.fromarray(photo(120, 90, 10)).convert("CMYK")), MIXED),
        (memoryview(jpeg(120, 90, 11, subsampling=0)), GPU),
    ]


@pytest.mark.parametrize("planar", [False, True])
def test_a_mixed_batch_is_routed_per_image_and_returned_in_order(cpu, every_kind, planar):
    decoder = FaultyDecoder(planar=planar)
    with gpu_processor(decoder) as processor:
        inputs = [image for image, _ in every_kind]
        batch = processor(inputs, process_res=56)
    assert strategies(batch) == [strategy for _, strategy in every_kind]
    assert_same(batch, cpu(inputs, process_res=56))
    assert decoder.calls == [5]  # one call for all JPEGs of a batch
    expected = cpu([batch.pixels[0].permute(1, 2, 0).numpy()], process_res=56).tensor
    torch.testing.assert_close(batch.tensor[:1], expected, rtol=0, atol=5e-7)


MACHINES = {
    "cuda, no engine": (replace(CUDA, jpeg_engines=0), "exact", MIXED),
    "cuda, engine not asked": (replace(CUDA, jpeg_engines=None), "exact", MIXED),
    "cuda, no decoder": (replace(CUDA, decoders=()), "exact", MIXED),
    "mps, exact": (Capabilities("mps", "stand-in", (NEAREST,)), "exact", MIXED),
    "mps, fast": (Capabilities("mps", "stand-in", (NEAREST,)), "fast", GPU),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_on_other_machines_only_files_take_another_strategy(cpu, every_kind, machine):
    capabilities, fidelity, file_strategy = MACHINES[machine]
    inputs = [image for image, _ in every_kind]
    with gpu_processor(FaultyDecoder(NEAREST), capabilities) as processor:
        batch = processor(inputs, process_res=56, fidelity=fidelity)
    assert strategies(batch) == [file_strategy if strategy is GPU else strategy for _, strategy in every_kind]
    assert_same(batch, cpu(inputs, process_res=56))


def test_without_a_gpu_everything_is_done_on_the_cpu(cpu, every_kind):
    assert set(strategies(cpu([image for image, _ in every_kind], process_res=56))) == {CPU}


@pytest.mark.parametrize("asked", ["gpu_decode", "hybrid", "full_gpu", "cpu"])
def test_every_strategy_gives_the_same_tensor(cpu, every_kind, asked):
    inputs = [image for image, _ in every_kind]
    with gpu_processor() as processor:
        batch = processor(inputs, process_res=70, process_res_method="lower_bound_crop", strategy=asked)
    expected = cpu(inputs, process_res=70, process_res_method="lower_bound_crop")
    assert_same(batch, expected)
    assert Strategy(asked) in strategies(batch)
    assert float((batch.tensor - expected.tensor).abs().max()) < 0.0176  # one level


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_normalised_values_come_in_the_networks_dtype(cpu, every_kind, dtype):
    inputs = [image for image, _ in every_kind]
    with gpu_processor(dtype=dtype) as processor:
        batch = processor(inputs, process_res=56)
        plain = processor(inputs, process_res=56, perform_normalization=False)
    assert batch.tensor.dtype is dtype
    assert plain.tensor is plain.pixels
    assert torch.equal(plain.pixels, batch.pixels)
    exact = torch.stack([cpu([one.permute(1, 2, 0).numpy()], process_res=56).tensor[0] for one in batch.pixels])
    assert torch.equal(batch.tensor, exact.to(dtype))


def test_autocast_around_a_call_does_not_touch_the_operators(cpu):
    inputs = [jpeg(480, 360, seed) for seed in range(2)]
    with gpu_processor() as processor:
        plain = processor(inputs, process_res=112)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            under = processor(inputs, process_res=112)
    assert torch.equal(plain.pixels, under.pixels)
    assert torch.equal(plain.tensor, under.tensor)


def test_a_default_device_does_not_affect_the_staging_memory(cpu):
    inputs = [photo(120, 90, 1)]
    with gpu_processor() as processor, torch.device("meta"):
        batch = processor(inputs, process_res=56)
    assert_same(batch, cpu(inputs, process_res=56))


def test_batches_are_made_in_the_calling_thread_where_the_gpu_needs_it(cpu):
    decoder = FaultyDecoder()
    with gpu_processor(decoder) as processor:
        processor._assembles_in_background = False  # as on Apple's GPU
        batches = list(
            processor.batches(
                [jpeg(120, 90, seed) for seed in range(4)], PreprocessOptions(process_res=56), batch_size=2
            )
        )
    assert decoder.threads == {threading.current_thread()}
    assert [one.index for batch in batches for one in batch.images] == [0, 1, 2, 3]


def test_batches_too_large_for_one_call_are_decoded_in_parts(cpu, monkeypatch):
    monkeypatch.setattr(gpu_assembler, "memory_budget", lambda device: 8 * 3 * 120 * 90)
    decoder = FaultyDecoder()  # overwrites what it gave before
    inputs = [jpeg(120, 90, seed) for seed in range(5)]
    with gpu_processor(decoder) as processor:
        batch = processor(inputs, process_res=56)
    assert decoder.calls == [2, 2, 1]
    assert_same(batch, cpu(inputs, process_res=56))


def test_views_of_different_sizes_and_their_cameras_follow_the_cpu(cpu):
    inputs = [jpeg(120, 90, 0), photo(90, 120, 1), jpeg(120, 80, 2), jpeg(90, 120, 3, exif=exif_block(8))]
    cameras = np.tile(np.array([[100.0, 0, 60], [0, 100, 45], [0, 0, 1]]), (4, 1, 1))
    poses = np.tile(np.eye(4), (4, 1, 1))
    poses[:, :3, 3] = np.arange(12.0).reshape(4, 3)
    with gpu_processor() as processor:
        ours, theirs = (one(inputs, poses, cameras, process_res=84) for one in (processor, cpu))
    assert_same(ours, theirs)
    assert torch.equal(ours.intrinsics, theirs.intrinsics)
    assert torch.equal(ours.extrinsics, theirs.extrinsics)
    assert float((ours.tensor - theirs.tensor).abs().max()) < 0.0176


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_independent_images_are_batched_in_one_background_thread(cpu, tmp_path, batch_size):
    inputs = [jpeg(120, 90, 0), photo(90, 120, 1), jpeg(90, 120, 2), b"?", jpeg(120, 90, 3), jpeg(120, 90)[:900]]
    inputs += [broken_inside(jpeg(120, 90, 4)), jpeg(120, 90, 5, progressive=True), jpeg(90, 120, 6)]
    decoder = FaultyDecoder()
    found, failed = {}, {}
    with gpu_processor(decoder) as processor:
        for item in processor.batches(inputs, PreprocessOptions(process_res=56), batch_size=batch_size):
            for failure in [item] if isinstance(item, ImageFailure) else item.failures:
                failed[failure.index] = str(failure.error)
            if not isinstance(item, ImageFailure):
                assert len(item.images) <= batch_size
                found |= {one.index: image for one, image in zip(item.images, item.pixels.numpy(), strict=True)}
    assert sorted(found | failed) == list(range(len(inputs)))
    assert len(decoder.threads) == 1
    for index, image in enumerate(inputs):
        if index in found:
            assert largest_difference(found[index], cpu([image], process_res=56).pixels[0].numpy()) <= 1
        else:
            with pytest.raises(DA3Error) as raised:
                cpu([image], process_res=56, on_error="skip")
            assert str(raised.value).partition(" (")[2] == failed[index].partition(" (")[2]


def test_a_stream_left_early_stops_work_and_closing_ends_its_threads():
    decoder = FaultyDecoder()
    with gpu_processor(decoder) as processor:
        batches = processor.batches(
            (jpeg(120, 90, seed % 5) for seed in range(10**6)), PreprocessOptions(process_res=56), batch_size=2
        )
        next(batches)
        batches.close()
        assert {thread.name for thread in decoder.threads} == {"da3-idle"}
    for thread in decoder.threads:
        thread.join(60)
        assert not thread.is_alive()


def test_coarse_decoders_are_used_only_where_fidelity_allows():
    capabilities = replace(CUDA, decoders=(NEAREST,))
    with gpu_processor(FaultyDecoder(NEAREST), capabilities) as processor:
        image = [jpeg(560, 420)]
        assert strategies(processor(image, process_res=56)) == [MIXED]
        batch = processor(image, process_res=56, fidelity="high")
        assert (strategies(batch), batch.images[0].choice.decoder) == ([GPU], "coarse")


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_decoder_may_return_a_smaller_image_where_fidelity_allows(cpu, orientation):
    inputs = [jpeg(1120, 840, 1, exif=exif_block(orientation)), jpeg(1120, 840, 2)]
    with gpu_processor(FaultyDecoder(reduce=True)) as processor:
        exact, fast = (processor(inputs[:1], process_res=98, fidelity=one) for one in ("exact", "fast"))
        processor(inputs, process_res=98, fidelity="fast")
    expected = cpu(inputs[:1], process_res=98).pixels.numpy()
    assert largest_difference(exact.pixels.numpy(), expected) <= 1
    assert fast.pixels.shape == expected.shape
    assert psnr(fast.pixels.numpy(), expected) >= 44


def test_the_environment_can_choose_the_strategy(monkeypatch):
    monkeypatch.setenv("DA3_STRATEGY", "full_gpu")
    with gpu_processor() as processor:
        assert strategies(processor([jpeg(120, 90), photo(120, 90, 1)], process_res=56)) == [FULL, FULL]


@pytest.mark.parametrize("asked", ["gpu_decode", "hybrid", "full_gpu"])
def test_without_a_gpu_its_strategies_are_rejected(cpu, asked):
    with pytest.raises(UnsupportedError, match=f"strategy='{asked}' needs a GPU"):
        cpu([photo(60, 60, 0)], process_res=56, strategy=asked)
    with pytest.raises(UnsupportedError, match=f"strategy='{asked}' needs a GPU"):
        cpu.batches([photo(60, 60, 0)], PreprocessOptions(strategy=asked))


def test_gpu_decoding_that_cannot_be_exact_says_so():
    capabilities = replace(CUDA, decoders=(NEAREST,))
    with gpu_processor(FaultyDecoder(NEAREST), capabilities) as processor:
        with pytest.raises(
            UnsupportedError, match=r"coarse does not decode as libjpeg does.* pass fidelity='high' or fidelity='fast'"
        ):
            processor([jpeg(120, 90)], strategy="gpu_decode")
        assert strategies(processor([jpeg(560, 420)], process_res=56, strategy="gpu_decode", fidelity="high")) == [GPU]


def test_the_error_names_the_environment_variable_if_it_decided(cpu, monkeypatch):
    monkeypatch.setenv("DA3_STRATEGY", "hybrid")
    with pytest.raises(UnsupportedError, match="environment variable DA3_STRATEGY='hybrid' needs a GPU"):
        cpu([photo(60, 60, 0)], process_res=56)
    monkeypatch.setenv("DA3_STRATEGY", "")
    assert strategies(cpu([photo(60, 60, 0)], process_res=56)) == [CPU]


def test_a_missing_device_raises_the_package_error():
    with pytest.raises(InvalidInputError, match="device='cuda:99' cannot be used"):
        GPUInputProcessor("cuda:99")


def test_gpu_decoding_without_a_decoder_gives_a_hint():
    capabilities = replace(CUDA, decoders=(), missing=("pip install 'depth-anything-3-fast[cuda]'",))
    with gpu_processor(capabilities=capabilities) as processor:
        with pytest.raises(UnsupportedError, match=r"no decoder for this GPU is available .*\[cuda\]"):
            processor([jpeg(120, 90)], strategy="gpu_decode")
        assert strategies(processor([jpeg(120, 90)], process_res=56)) == [MIXED]


def test_unknown_dtypes_and_resamplers_are_rejected():
    with pytest.raises(InvalidInputError, match=r"dtype=torch\.int8 is not accepted"):
        gpu_processor(dtype=torch.int8)
    with pytest.raises(UnsupportedError, match="resampler 'best'"):
        gpu_processor(resampler="best")


def test_closing_gives_the_decoder_back_and_the_next_call_opens_it_again(cpu):
    decoder = FaultyDecoder()
    processor = gpu_processor(decoder)
    for closed in range(2):
        assert_same(processor([jpeg(120, 90)], process_res=56), cpu([jpeg(120, 90)], process_res=56))
        processor.close()
        assert decoder.closed == closed + 1


def test_a_processor_can_be_copied():
    with gpu_processor(resampler="torch") as processor, copy.copy(processor) as other:
        assert other.capabilities == processor.capabilities
        assert other._recreate.keywords == processor._recreate.keywords
        assert strategies(other([photo(120, 90, 1)], process_res=56)) == [MIXED]


def test_tensors_on_the_device_are_read_where_they_are(monkeypatch, cpu):
    frame = torch.from_numpy(photo(120, 90, 7)).permute(2, 0, 1)
    with gpu_processor() as processor:
        seen = []
        resampler = processor._assembler._resampler
        monkeypatch.setattr(
            processor._assembler,
            "_resampler",
            lambda images, *rest: (seen.append(images[0].data_ptr()), resampler(images, *rest)),
        )
        batch = processor([frame], process_res=56)
    assert seen == [frame.data_ptr()]
    assert_same(batch, cpu([frame], process_res=56))


def test_warm_up_has_no_side_effects():
    with gpu_processor() as processor:
        processor.warm_up()
        assert strategies(processor([photo(120, 90, 1)], process_res=56)) == [MIXED]


def test_warm_up_compiles_for_every_alignment_and_both_layouts(monkeypatch):
    with gpu_processor() as processor:
        seen = set()
        resampler = processor._assembler._resampler

        class Seeing:
            normalize = staticmethod(resampler.normalize)

            def __call__(self, images, *rest):
                seen.update((layout.step, layout.align) for layout in map(ImageLayout.of, images))
                resampler(images, *rest)

        monkeypatch.setattr(processor._assembler, "_resampler", Seeing())
        processor.warm_up()
    assert seen == {(step, align) for step in (1, 3) for align in (1, 4, 16)}
