from __future__ import annotations

import re

import pytest

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.inputs.choices import Fidelity, Strategy
from depth_anything_3.inputs.decode.gpu.decoder import DecoderTraits
from depth_anything_3.inputs.decode.gpu.jpeg_engine import MissingEngine
from depth_anything_3.inputs.header import ImageHeader, JpegCoding, JpegProcess
from depth_anything_3.inputs.plan.resize_plan import plan_resize
from depth_anything_3.inputs.routing.costs import Cost, Costs
from depth_anything_3.inputs.routing.strategy import (
    Capabilities,
    ImageTraits,
    Request,
    check_strategy,
    choose_strategy,
    min_source_hw,
)

CHROMA_420 = ((2, 2), (1, 1), (1, 1))
CHROMA_444 = ((1, 1), (1, 1), (1, 1))


def jpeg(process=JpegProcess.BASELINE, bits=8, sampling=CHROMA_420, hw=(2160, 3840), **more):
    return ImageHeader("JPEG", hw, 1, JpegCoding(process, bits, sampling, **more))


FINE = DecoderTraits("nvimgcodec", "0.9", exact=True)
COARSE = DecoderTraits("torchcodec", "0.17", exact=False)
APPLE = DecoderTraits("imageio", "13.0", exact=False)
HIDDEN = MissingEngine("libnvcuvid.so.1 cannot be loaded", "add the capability")

MACHINES = {
    "cuda, engine": Capabilities("cuda", "A", (FINE, COARSE), jpeg_engines=1),
    "cuda, no engine": Capabilities("cuda", "B", (FINE, COARSE), jpeg_engines=0),
    "cuda, hidden engine": Capabilities("cuda", "B", (FINE,), jpeg_engines=0, missing_engine=HIDDEN),
    "cuda, not asked": Capabilities("cuda", "C", (FINE,), jpeg_engines=None),
    "cuda, coarse only": Capabilities("cuda", "D", (COARSE,), jpeg_engines=1, missing=("pip install x",)),
    "cuda, no decoder": Capabilities("cuda", "E", jpeg_engines=1, missing=("pip install x",)),
    "mps": Capabilities("mps", "F", (APPLE,)),
    "none": Capabilities("cpu", "G"),
}
IMAGES = {
    "jpeg": ImageTraits(jpeg(), reduction=7.6),
    "jpeg 4:4:4": ImageTraits(jpeg(sampling=CHROMA_444), reduction=7.6),
    "grey jpeg": ImageTraits(jpeg(sampling=((1, 1),)), reduction=7.6),
    "progressive": ImageTraits(jpeg(JpegProcess.PROGRESSIVE), reduction=7.6),
    "arithmetic": ImageTraits(jpeg(JpegProcess.ARITHMETIC), reduction=7.6),
    "12-bit": ImageTraits(jpeg(JpegProcess.EXTENDED, 12), reduction=7.6),
    "cmyk": ImageTraits(jpeg(sampling=((1, 1),) * 4), reduction=7.6),
    "cut": ImageTraits(jpeg(complete=False), reduction=7.6),
    "png": ImageTraits(ImageHeader("PNG", (2160, 3840), 1), reduction=7.6),
    "pixels": ImageTraits(reduction=7.6),  # a PIL image, an array, a tensor on the CPU
    "on the gpu": ImageTraits(on_device=True, reduction=7.6),
}
DECODED = ("jpeg", "jpeg 4:4:4", "grey jpeg")
GPU, MIXED, FULL, CPU = Strategy.GPU_DECODE, Strategy.HYBRID, Strategy.FULL_GPU, Strategy.CPU


def expected_automatically(machine, image):
    if machine == "none":
        return CPU
    if image == "on the gpu":
        return FULL
    return GPU if machine == "cuda, engine" and image in DECODED else MIXED


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("machine", MACHINES)
def test_the_automatic_choice_and_its_reason(machine, image):
    choice = choose_strategy(MACHINES[machine], IMAGES[image])
    assert choice.strategy is expected_automatically(machine, image)
    assert (choice.decoder is not None) == (choice.strategy is GPU)
    assert len(choice.reason) > 8


@pytest.mark.parametrize(
    ("machine", "image", "message"),
    [
        ("cuda, engine", "jpeg", "JPEG engine through nvimgcodec"),
        ("cuda, engine", "progressive", "progressive JPEG: nvimgcodec supports baseline"),
        ("cuda, engine", "cmyk", "4 components"),
        ("cuda, engine", "12-bit", "extended sequential JPEG"),
        ("cuda, engine", "png", "PNG: GPU decoders support JPEG only"),
        ("cuda, engine", "cut", "without an end marker"),
        ("cuda, engine", "pixels", "pixels in memory"),
        ("cuda, engine", "on the gpu", "already in the GPU's memory"),
        ("cuda, no engine", "jpeg", "nvJPEG reports none"),
        ("cuda, hidden engine", "jpeg", r"no hardware JPEG engine \(libnvcuvid\.so\.1 cannot be loaded\)"),
        ("cuda, not asked", "jpeg", "nvJPEG could not be queried"),
        ("cuda, coarse only", "jpeg", "does not decode as libjpeg does"),
        ("cuda, no decoder", "jpeg", r"no GPU decoder is available \(pip install x\)"),
        ("mps", "jpeg", "imageio does not decode as libjpeg does"),
        ("none", "jpeg", "the network is on the CPU"),
    ],
)
def test_the_reason_says_what_decided(machine, image, message):
    assert re.search(message, choose_strategy(MACHINES[machine], IMAGES[image]).reason)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("asked", ["gpu_decode", "hybrid", "full_gpu", "cpu"])
def test_the_requested_strategy_is_used_where_the_image_allows_it(machine, image, asked):
    capabilities, request = MACHINES[machine], Request.of(asked, "fast")
    able = capabilities.device_type != "cpu" and (asked != "gpu_decode" or capabilities.decoders)
    if asked != "cpu" and not able:
        with pytest.raises(UnsupportedError, match=f"strategy='{asked}'"):
            check_strategy(capabilities, request)
        nearest = choose_strategy(capabilities, IMAGES[image], request).strategy
        assert nearest is expected_automatically(machine, image)
        return
    check_strategy(capabilities, request)
    chosen = choose_strategy(capabilities, IMAGES[image], request).strategy
    if asked == "gpu_decode":
        assert chosen is (GPU if image in DECODED else FULL if image == "on the gpu" else MIXED)
    elif asked == "hybrid" and image == "on the gpu":
        assert chosen is FULL
    else:
        assert chosen is Strategy(asked)


@pytest.mark.parametrize(
    ("fidelity", "reduction", "sampling", "strategy"),
    [
        ("exact", 7.6, CHROMA_420, MIXED),
        ("exact", 7.6, CHROMA_444, MIXED),
        ("high", 7.6, CHROMA_420, GPU),
        ("high", 2.5, CHROMA_420, GPU),
        ("high", 2.4, CHROMA_420, MIXED),
        ("high", 1.2, CHROMA_444, GPU),  # nothing to interpolate
        ("fast", 1.0, CHROMA_420, GPU),
        ("fast", 0.8, CHROMA_420, MIXED),
    ],
)
def test_coarse_chroma_is_used_only_where_reduction_averages_it_away(fidelity, reduction, sampling, strategy):
    image = ImageTraits(jpeg(sampling=sampling), reduction=reduction)
    choice = choose_strategy(MACHINES["cuda, coarse only"], image, Request.of("auto", fidelity))
    assert choice.strategy is strategy


def test_an_exact_decoder_is_preferred_to_a_coarse_one_at_every_fidelity():
    for fidelity in Fidelity:
        choice = choose_strategy(MACHINES["cuda, engine"], IMAGES["jpeg"], Request.of("auto", fidelity))
        assert choice.decoder == "nvimgcodec"


def measured(**rows):
    """A machine without an engine, where `decoder=(alone, contended)` milliseconds were measured at 4K."""
    table = [Cost(decoder, 2160 * 3840, 1, *times) for decoder, times in rows.items()]
    return Capabilities("cuda", "M", (FINE, COARSE), jpeg_engines=0, costs=Costs(tuple(table)))


def test_measured_costs_decide_where_there_are_any():
    request = Request(Strategy.AUTO, Fidelity.FAST)
    fast_gpu = measured(cpu=(20.0, 21.0), nvimgcodec=(5.0, 30.0), torchcodec=(4.0, 40.0))
    alone = choose_strategy(fast_gpu, IMAGES["jpeg"], request)
    assert (alone.strategy, alone.decoder) == (GPU, "torchcodec")
    assert "measured: torchcodec 4 ms per image, CPU 20" in alone.reason
    streaming = choose_strategy(fast_gpu, IMAGES["jpeg"], Request(Strategy.AUTO, Fidelity.FAST, overlapped=True))
    assert streaming.strategy is MIXED
    assert "measured: CPU 21" in streaming.reason


def test_one_image_alone_keeps_one_worker_busy():
    rows = [Cost("cpu", 2160 * 3840, 1, 20.0, 20.0), Cost("cpu", 2160 * 3840, 8, 4.0, 4.0)]
    rows.append(Cost("nvimgcodec", 2160 * 3840, 1, 10.0, 10.0))
    machine = Capabilities("cuda", "M", (FINE,), jpeg_engines=0, costs=Costs(tuple(rows)))
    choose = lambda **how: choose_strategy(machine, IMAGES["jpeg"], Request(workers=8, **how)).strategy  # noqa: E731
    assert choose(batch_size=1) is GPU
    assert choose(batch_size=8) is MIXED
    assert choose(batch_size=1, overlapped=True) is MIXED


def test_measured_costs_do_not_overrule_fidelity_or_support():
    machine = measured(cpu=(20.0, 20.0), nvimgcodec=(30.0, 30.0), torchcodec=(1.0, 1.0))
    assert choose_strategy(machine, IMAGES["jpeg"]).strategy is MIXED  # torchcodec is not exact
    assert choose_strategy(machine, IMAGES["png"], Request(fidelity=Fidelity.FAST)).strategy is MIXED
    asked = choose_strategy(machine, IMAGES["jpeg"], Request(Strategy.GPU_DECODE, Fidelity.FAST))
    assert (asked.strategy, asked.decoder) == (GPU, "torchcodec")


def test_costs_are_interpolated_and_extrapolated():
    rows = [Cost("cpu", 1000, 1, 10.0, 11.0), Cost("cpu", 3000, 1, 30.0, 31.0), Cost("cpu", 3000, 8, 6.0, 7.0)]
    costs = Costs(tuple(rows))
    assert costs.of("cpu", 2000, 1, overlapped=False) == pytest.approx(20.0)
    assert costs.of("cpu", 2000, 1, overlapped=True) == pytest.approx(21.0)
    assert costs.of("cpu", 6000, 4, overlapped=False) == pytest.approx(60.0)
    assert costs.of("cpu", 3000, 64, overlapped=False) == pytest.approx(6.0)
    assert costs.of("cpu", 10, 1, overlapped=False) == pytest.approx(10.0)
    assert costs.of("other", 3000, 1, overlapped=False) is None


def test_the_environment_replaces_auto_only(monkeypatch):
    monkeypatch.setenv("DA3_STRATEGY", "hybrid")
    assert Request.of("auto", "exact").strategy is MIXED
    assert Request.of("cpu", "exact").strategy is CPU
    monkeypatch.setenv("DA3_STRATEGY", "warp")
    with pytest.raises(InvalidInputError, match=r"variable DA3_STRATEGY='warp' is unknown"):
        Request.of("auto", "exact")


@pytest.mark.parametrize("options", [("best", "exact"), ("auto", "good")])
def test_unknown_options_are_rejected(options):
    with pytest.raises(InvalidInputError, match="is unknown; choose"):
        Request.of(*options)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_reduced_decode_keeps_the_plan_of_the_full_image(orientation):
    plan = plan_resize((2160, 3840), 504, exif_orientation=orientation)
    assert min_source_hw(plan, Fidelity.EXACT) is None
    least = min_source_hw(plan, Fidelity.FAST)
    assert least is not None
    assert least[0] < 2160
    assert least[1] < 3840
    assert least[1] >= 3 * 504  # as stored: the long side is still the width
    reduced = plan.for_decoded_size(least)
    assert (reduced.stored_hw, reduced.result_hw) == (least, plan.result_hw)
    assert min_source_hw(plan_resize((600, 800), 504), Fidelity.FAST) is None
