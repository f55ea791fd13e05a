"""Every strategy on a GPU against the CPU: pixels, order, errors, streams, memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from depth_anything_3.diagnostics.self_check import EXACT_DECODER_DB, EXACT_DECODER_LEVELS
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import DA3Error, UnsupportedError
from depth_anything_3.inputs.choices import ProcessResMethod, Strategy
from depth_anything_3.inputs.decode.gpu.registry import open_decoder
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.inputs.resample.normalize import normalize, normalized_levels
from depth_anything_3.inputs.routing.capabilities import find_capabilities
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.faulty_decoder import SkippingLibrary
from support.images import encoded, exif_block, jpeg, largest_difference, psnr

# Torchvision says so at each call, and pytest undoes the filter that its adapter has set.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")

DECODERS = ("nvimgcodec", "torchcodec", "torchvision")
STRATEGIES = ("hybrid", "full_gpu", "cpu", "auto")
SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


@pytest.fixture(scope="module")
def cpu():
    with InputProcessor() as processor:
        yield processor


@pytest.fixture(scope="module", params=["triton", "torch"])
def resampler(request, cuda):
    if request.param not in find_capabilities(cuda).resamplers:
        pytest.skip(f"resampler {request.param} does not run here")
    return request.param


@pytest.fixture(scope="module")
def processor(cuda, resampler):
    with GPUInputProcessor(cuda, resampler=resampler) as processor:
        yield processor


@pytest.fixture(scope="module", params=DECODERS)
def decoding(request, cuda):
    """A processor that has this decoder only."""
    capabilities = find_capabilities(cuda)
    decoders = tuple(one for one in capabilities.decoders if one.name == request.param)
    if not decoders:
        pytest.skip(f"{request.param} is not installed")
    try:
        open_decoder(request.param, cuda).close()
    except UnsupportedError as error:
        pytest.skip(str(error))
    with GPUInputProcessor(cuda, capabilities=replace(capabilities, decoders=decoders, costs=None)) as processor:
        yield processor


def mixed_inputs(cuda):
    landscape = [photo(400, 300, seed) for seed in range(8)]
    return [
        jpeg(400, 300, 0),
        jpeg(400, 300, 1, progressive=True),
        encoded(landscape[2], "PNG"),
        Image.fromarray(landscape[3]),
        landscape[4],
        landscape[5][..., ::-1],
        torch.from_numpy(landscape[6]).permute(2, 0, 1),
        torch.from_numpy(landscape[7]).permute(2, 0, 1).to(cuda),
        jpeg(300, 400, 8, exif=exif_block(6)),
        encoded(Image.fromarray(photo(400, 300, 9)).convert("L")),
        encoded(Image.fromarray(photo(400, 300, 10)).convert("CMYK")),
    ]


def on_cpu(inputs):
    return [one.cpu() if isinstance(one, torch.Tensor) else one for one in inputs]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_mixed_inputs_give_the_cpus_pixels_in_order(cuda, cpu, processor, strategy):
    inputs = mixed_inputs(cuda)
    batch = processor(inputs, process_res=140, strategy=strategy)
    expected = cpu(on_cpu(inputs), process_res=140)
    assert batch.tensor.device == cuda
    limit = 1 if strategy != "auto" else 2  # a GPU decoder's own rounding comes on top; measured below
    assert largest_difference(batch.pixels.cpu().numpy(), expected.pixels.numpy()) <= limit
    levels = normalized_levels()
    normalised = np.stack([normalize(one, levels) for one in batch.pixels.cpu().numpy()])
    np.testing.assert_allclose(batch.tensor.cpu().numpy(), normalised, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", [one.value for one in ProcessResMethod])
@pytest.mark.parametrize(("width", "height"), [(640, 480), (1280, 720), (503, 377), (90, 70), (60, 300), (1008, 756)])
def test_resampling_on_the_gpu_is_within_one_level(cpu, processor, method, width, height):
    images = [photo(width, height, seed) for seed in range(3)]
    batch = processor(images, None, None, 252, method, strategy="full_gpu")
    expected = cpu(images, None, None, 252, method)
    assert largest_difference(batch.pixels.cpu().numpy(), expected.pixels.numpy()) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_honoured(cpu, decoding, orientation):
    files = [jpeg(320, 240, seed, exif=exif_block(orientation)) for seed in range(3)]
    batch = decoding(files, process_res=140, strategy="gpu_decode", fidelity="fast")
    assert {one.choice.strategy for one in batch.images} == {Strategy.GPU_DECODE}
    expected = cpu(files, process_res=140).pixels.numpy()
    assert batch.pixels.shape == expected.shape
    assert psnr(batch.pixels.cpu().numpy(), expected) > 40


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_decoders_are_as_exact_as_they_say(cpu, decoding, sampling):
    files = [jpeg(1920, 1080, seed, subsampling=sampling, quality=95) for seed in range(3)]
    batch = decoding(files, strategy="gpu_decode", fidelity="fast")
    expected = cpu(files).pixels.numpy()
    found = batch.pixels.cpu().numpy()
    (decoder,) = decoding.capabilities.decoders
    if decoder.exact:
        assert largest_difference(found, expected) <= EXACT_DECODER_LEVELS
        assert psnr(found, expected) >= EXACT_DECODER_DB
    else:
        assert psnr(found, expected) >= 44


def test_images_that_an_engine_rejects_are_decoded_on_the_cpu(cpu, decoding):
    files = [jpeg(400, 300, 0), jpeg(400, 300, 1, progressive=True), jpeg(400, 300, 2)]
    files += [encoded(Image.fromarray(photo(400, 300, 3)).convert("CMYK")), encoded(photo(400, 300, 4), "PNG")]
    batch = decoding(files, process_res=140, fidelity="fast", strategy="gpu_decode")
    strategies = [one.choice.strategy for one in batch.images]
    assert strategies == [Strategy.GPU_DECODE, Strategy.HYBRID, Strategy.GPU_DECODE, Strategy.HYBRID, Strategy.HYBRID]
    exact = cpu(files, process_res=140).pixels.numpy()
    for place in (1, 3, 4):
        assert np.array_equal(batch.pixels[place].cpu().numpy(), exact[place])


def broken_files(tmp_path):
    whole = jpeg(640, 480, 3)
    return {
        "cut": whole[: len(whole) // 2],
        "cut, with an end marker": whole[: len(whole) // 2] + b"\xff\xd9",
        "flipped": whole[:20000] + bytes(byte ^ 0x55 for byte in whole[20000:20040]) + whole[20040:],
        "no tables": whole.replace(b"\xff\xdb", b"\xff\xef"),
        "no pixels": whole[:200] + b"\xff\xd9",
        "text": b"not an image",
        "missing": tmp_path / "missing.jpg",
    }


def test_broken_files_fail_as_on_the_cpu_and_cost_only_themselves(cpu, decoding, tmp_path):
    good = [jpeg(640, 480, seed) for seed in range(4)]
    for name, broken in broken_files(tmp_path).items():
        inputs = [*good[:2], broken, *good[2:]]
        outcomes = []
        for one, strategy in ((cpu, "auto"), (decoding, "gpu_decode")):
            options = {"process_res": 140, "fidelity": "fast", "strategy": strategy}
            try:
                outcome = one(inputs, **options).pixels.shape
            except DA3Error as error:
                outcome = type(error), str(error)
            skipping = one(inputs, on_error="skip", **options)
            outcomes.append((outcome, [image.index for image in skipping.images]))
        assert outcomes[0] == outcomes[1], name
        assert outcomes[0][1] in ([0, 1, 3, 4], [0, 1, 2, 3, 4]), name


def test_a_batch_is_the_same_every_time_while_the_gpu_is_busy(cuda, decoding):
    """Decoders that start before the stream's earlier work has ended sometimes return corrupt images."""
    files = [jpeg(1920, 1080, seed) for seed in range(4)]
    first = decoding(files, fidelity="fast", strategy="gpu_decode").pixels.cpu()
    load = torch.randn(4096, 4096, device=cuda, dtype=torch.bfloat16)
    for _ in range(60):
        for stream in (torch.cuda.current_stream(cuda), decoding._assembler._stream):
            with torch.cuda.stream(stream):
                for _ in range(8):
                    load @ load
        again = decoding(files, fidelity="fast", strategy="gpu_decode")
        assert torch.equal(again.pixels.cpu(), first)


def test_frames_that_are_still_being_written_are_waited_for(cuda, cpu, processor):
    image = photo(1920, 1080, 1)
    planes = torch.from_numpy(image).permute(2, 0, 1).to(cuda)
    slow = torch.randn(4096, 4096, device=cuda)
    expected = cpu([image]).pixels.numpy()
    for _ in range(5):
        frame = torch.zeros_like(planes)
        for _ in range(20):
            slow @ slow
        frame.copy_(planes)
        assert largest_difference(processor([frame]).pixels.cpu().numpy(), expected) <= 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_the_rounded_float32(cuda, resampler, dtype):
    files = [jpeg(640, 480, seed) for seed in range(3)]
    with GPUInputProcessor(cuda, resampler=resampler) as full:
        exact = full(files, process_res=140, strategy="full_gpu")
    with GPUInputProcessor(cuda, dtype=dtype, resampler=resampler) as low:
        batch = low(files, process_res=140, strategy="full_gpu")
    assert torch.equal(batch.pixels, exact.pixels)
    torch.testing.assert_close(batch.tensor.float(), exact.tensor, rtol=0, atol=0.017)


def test_memory_stays_flat_over_many_batches(cuda, processor):
    files = [jpeg(640, 480, seed) for seed in range(4)]

    def used() -> int:
        for _ in processor.batches(files * 25, PreprocessOptions(process_res=140), batch_size=4):
            pass
        torch.cuda.synchronize()
        free, total = torch.cuda.mem_get_info(cuda)  # of the driver: decoders have memory of their own
        return total - free

    before = max(used() for _ in range(2))
    assert max(used() for _ in range(6)) <= before + 32 * 2**20


@pytest.mark.parametrize("method", ["call", "batches"])
def test_frames_written_on_another_stream_are_waited_for(cuda, cpu, processor, method):
    image = photo(1920, 1080, 1)
    planes = torch.from_numpy(image).permute(2, 0, 1).to(cuda)
    slow = torch.randn(4096, 4096, device=cuda)
    side = torch.cuda.Stream(cuda)
    side.wait_stream(torch.cuda.current_stream(cuda))
    expected = cpu([image]).pixels.numpy()
    with torch.cuda.stream(side):
        frame = torch.zeros_like(planes)
        for _ in range(20):
            slow @ slow
        frame.copy_(planes)
        batch = processor([frame]) if method == "call" else next(processor.batches([frame]))
        found = batch.pixels.cpu()
    assert largest_difference(found.numpy(), expected) <= 1


def test_no_image_shows_the_one_decoded_before_it(cuda, cpu, decoding):
    """A file that is cut but has an end marker may leave a decoder's memory as it was."""
    whole = jpeg(640, 480, 3)
    broken = whole[: len(whole) // 2] + b"\xff\xd9"
    for seed in range(3):
        earlier = [jpeg(640, 480, 10 * seed + place) for place in range(4)]
        decoding(earlier, strategy="gpu_decode", fidelity="fast")
        batch = decoding([broken] * 4, strategy="gpu_decode", fidelity="fast")
        expected = cpu([broken]).pixels[0].numpy()
        for image, pixels in zip(batch.images, batch.pixels.cpu().numpy(), strict=True):
            assert psnr(pixels, expected) > 40, image.choice


def test_an_image_that_the_library_skips_is_decoded_on_the_cpu(cuda, cpu, decoding):
    (name,) = (one.name for one in decoding.capabilities.decoders)
    if name != "nvimgcodec":
        pytest.skip("only this library takes its memory from the caller")
    batches = [[jpeg(640, 480, 4 * call + place) for place in range(4)] for call in range(4)]
    decoding(batches[0], strategy="gpu_decode", fidelity="fast")
    decoder = decoding._assembler._decoders._open[name]
    library = decoder._decoder
    try:
        for call, files in enumerate(batches):
            decoder._decoder = SkippingLibrary(library, [files[call]])
            batch = decoding(files, strategy="gpu_decode", fidelity="fast")
            found = [one.choice.strategy for one in batch.images]
            assert found == [Strategy.HYBRID if place == call else Strategy.GPU_DECODE for place in range(4)]
            assert "did not write" in batch.images[call].choice.reason
            assert psnr(batch.pixels.cpu().numpy(), cpu(files).pixels.numpy()) > 40
    finally:
        decoder._decoder = library


def test_files_do_not_wait_for_the_callers_stream(cuda, decoding):
    files = [jpeg(640, 480, seed) for seed in range(4)]
    for _ in range(3):  # allocates all memory, which may wait for the device
        decoding(files, strategy="gpu_decode", fidelity="fast")
    torch.cuda.synchronize()
    busy = torch.cuda.Event()
    torch.cuda._sleep(4_000_000_000)  # cycles: seconds
    busy.record()
    batch = decoding(files, strategy="gpu_decode", fidelity="fast")
    batch.ready.synchronize()
    assert not busy.query()
    torch.cuda.synchronize()
