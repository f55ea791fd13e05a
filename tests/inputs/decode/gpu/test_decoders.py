"""The decoders for GPUs, run on the CPU as their libraries allow."""

from __future__ import annotations

import importlib.metadata
import io
import itertools
import os
import re
import subprocess
import sys
import types
import warnings
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import UnsupportedError
from depth_anything_3.inputs.decode.gpu import nvimgcodec, torchcodec, torchvision
from depth_anything_3.inputs.decode.gpu.batch_fallback import encoded_tensor
from depth_anything_3.inputs.decode.gpu.pinned_files import PinnedFiles
from depth_anything_3.inputs.decode.gpu.registry import find_decoders, open_decoder
from depth_anything_3.inputs.header import probe
from depth_anything_3.runtime import packages as installed
from support.faulty_decoder import SkippingLibrary
from support.images import encoded, exif_block, jpeg

CPU = torch.device("cpu")
LIBRARIES = {"nvimgcodec": nvimgcodec, "torchcodec": torchcodec, "torchvision": torchvision}


@pytest.fixture(params=LIBRARIES)
def decoder(request):
    try:
        LIBRARIES[request.param].find("cpu")
    except UnsupportedError as error:
        pytest.skip(str(error))
    opened = open_decoder(request.param, CPU)
    yield opened
    opened.close()


def decoded(decoder, *files):
    """Each file's pixels as an array of its own, or the reason why there are none."""
    results = decoder.decode(files, [probe(data, "x") for data in files], [None] * len(files))
    return [one if isinstance(one, str) else one.numpy().copy() for one in results]


def as_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def cut_in_the_middle(data: bytes) -> bytes:
    """As a broken transfer leaves it."""
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(jpeg(121, 83, 1, subsampling=2), id="4:2:0"),
        pytest.param(jpeg(121, 83, 1, subsampling=1), id="4:2:2"),
        pytest.param(jpeg(121, 83, 1, subsampling=0), id="4:4:4"),
        pytest.param(encoded(photo(121, 83, 1)[..., 0]), id="grey"),
        pytest.param(jpeg(1, 1), id="1x1"),
    ],
)
def test_pixels_equal_the_reference_decoder(decoder, data):
    (pixels,) = decoded(decoder, data)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, as_pillow(data))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_come_as_stored_whatever_the_orientation_says(decoder, orientation):
    (pixels,) = decoded(decoder, jpeg(60, 40, exif=exif_block(orientation)))
    np.testing.assert_array_equal(pixels, as_pillow(jpeg(60, 40)))


def test_exif_blocks_are_hidden_from_torchcodec_wherever_they_are():
    pytest.importorskip("torchcodec")
    data = jpeg(60, 40, exif=exif_block(6))
    block = exif_block(8, order=">")
    segment = b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
    after_first = data.index(b"Exif") + len(exif_block(6))
    frame = data.index(b"\xff\xc0")
    after_frame = frame + 2 + int.from_bytes(data[frame + 2 : frame + 4], "big")
    files = [
        data[:2] + segment + data[2:],
        data[:after_first] + b"\xff\xff" + segment + data[after_first:],
        data[:after_frame] + segment + data[after_frame:],
        data.replace(b"Exif\0\0", b"no tag"),
    ]
    for pixels in decoded(open_decoder("torchcodec", CPU), *files):
        np.testing.assert_array_equal(pixels, as_pillow(jpeg(60, 40)))


def test_a_bad_file_fails_alone_with_its_reason(decoder):
    good = [jpeg(60, 40, 0), jpeg(32, 48, 1), jpeg(24, 24, 2)]
    first, bad, second, third = decoded(decoder, good[0], cut_in_the_middle(jpeg(90, 90)), good[1], good[2])
    assert decoder.traits.name in bad
    assert "\n" not in bad
    for pixels, data in zip((first, second, third), good, strict=True):
        np.testing.assert_array_equal(pixels, as_pillow(data))


def test_a_batch_of_bad_files_gives_a_reason_for_each(decoder):
    bad = cut_in_the_middle(jpeg(90, 90))
    assert all(isinstance(one, str) for one in decoded(decoder, bad, bad))


def test_every_kind_of_buffer_is_accepted_in_order(decoder):
    files = [jpeg(20 + 10 * index, 90 - 10 * index, index, exif=exif_block(6)) for index in range(6)]
    kinds = [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data)), bytes, bytearray]
    given = [kind(data) for kind, data in zip(kinds, files, strict=True)]
    for pixels, data in zip(decoded(decoder, *given), files, strict=True):
        np.testing.assert_array_equal(pixels, as_pillow(data))
    assert [bytes(data) for data in given] == files, "the caller's own bytes are not changed"


def test_an_empty_batch_is_an_empty_result(decoder):
    assert decoder.decode([], [], []) == []


def test_pixels_of_a_wrong_size_are_rejected(decoder):
    (result,) = decoder.decode([jpeg(60, 40)], [probe(jpeg(60, 48), "x")], [None])
    assert "60x48" in result


def test_reused_memory_never_mixes_images():
    pytest.importorskip("nvidia.nvimgcodec")
    decoder = open_decoder("nvimgcodec", CPU)
    bad = cut_in_the_middle(jpeg(90, 90))
    sizes = [[(50, 40)], [(200, 160), (10, 12), (64, 64)], [(12, 10)], [], [(300, 20), (8, 8)], [(64, 64)] * 5]
    for call, batch in enumerate(sizes):
        good = [jpeg(width, height, seed=10 * call + place) for place, (width, height) in enumerate(batch)]
        files = [*good[:1], bad, *good[1:]]
        results = decoded(decoder, *files)
        assert isinstance(results.pop(1 if good else 0), str)
        for pixels, data in zip(results, good, strict=True):
            np.testing.assert_array_equal(pixels, as_pillow(data))


def test_pixels_are_valid_until_the_next_call():
    pytest.importorskip("nvidia.nvimgcodec")
    decoder = open_decoder("nvimgcodec", CPU)
    files = [jpeg(60, 40, 0), jpeg(60, 40, 1)]
    results = decoder.decode(files, [probe(data, "x") for data in files], [None, None])
    for pixels, data in zip(results, files, strict=True):
        np.testing.assert_array_equal(pixels.numpy(), as_pillow(data))


def test_page_locked_copies_of_the_files_give_the_same_pixels():
    pytest.importorskip("nvidia.nvimgcodec")
    decoder = nvimgcodec.NvImageCodecDecoder(CPU, pinned=True)
    for count in (2, 5, 1, 3):
        files = [jpeg(40 + 8 * place, 60, 10 * count + place) for place in range(count)]
        bad = cut_in_the_middle(jpeg(90, 90))
        *results, reason = decoded(decoder, *map(memoryview, files), bad)
        for pixels, data in zip(results, files, strict=True):
            np.testing.assert_array_equal(pixels, as_pillow(data))
        assert isinstance(reason, str)
    decoder.close()


def test_page_locked_copies_survive_one_further_call():
    copy_files, files = PinnedFiles(CPU), [b"first", b"", b"x" * 1000]
    first = copy_files(files)
    copy_files([b"y" * 3000])
    assert [one.tobytes() for one in first] == files
    third = copy_files([b"z" * 100])
    assert third[0].ctypes.data == first[0].ctypes.data, "the buffers take turns"
    assert copy_files([]) == []


def test_a_library_that_fails_as_a_whole_gives_reasons_and_recovers():
    pytest.importorskip("nvidia.nvimgcodec")
    decoder = open_decoder("nvimgcodec", CPU)

    class OutOfMemory:
        def decode(self, *_, **__):
            raise RuntimeError("CUDA Runtime failure: '#2'\nat some line")

    working, decoder._decoder = decoder._decoder, OutOfMemory()
    assert decoded(decoder, jpeg(), jpeg()) == ["nvimgcodec: CUDA Runtime failure: '#2'"] * 2
    decoder._decoder = working
    np.testing.assert_array_equal(decoded(decoder, jpeg())[0], as_pillow(jpeg()))


def test_on_cuda_nvimgcodec_never_uses_its_cpu_decoder_and_reports_on_each_file():
    made = {}
    library = types.SimpleNamespace(
        BackendKind=types.SimpleNamespace(
            HW_GPU_ONLY="engine", GPU_ONLY="gpu", HYBRID_CPU_GPU="hybrid", CPU_ONLY="cpu"
        ),
        Backend=lambda kind: kind,
        Decoder=lambda **options: made.update(options),
    )
    nvimgcodec._create(library, torch.device("cuda", 1))
    assert made.pop("max_num_cpu_threads") >= 1
    assert made == {
        "device_id": 1,
        "backends": ["engine", "gpu", "hybrid"],
        "options": ":fancy_upsampling=1 nvjpeg_hw_decoder:force_batch_single=1",
    }


@pytest.fixture
def skipping():
    """An open nvimgcodec decoder, and the files that its library skips."""
    pytest.importorskip("nvidia.nvimgcodec")
    decoder = open_decoder("nvimgcodec", CPU)
    skipped = []
    decoder._decoder = SkippingLibrary(decoder._decoder, skipped)
    yield decoder, skipped
    decoder.close()


def test_an_image_that_nvimgcodec_skips_shows_no_earlier_image_and_is_found(skipping):
    decoder, skipped = skipping
    batches = [[jpeg(120, 90, 3 * call + place) for place in range(3)] for call in range(5)]
    seen = []
    for call, files in enumerate(batches):
        lost = call % 3
        skipped[:] = [files[lost]]
        results = decoder.decode(files, [probe(data, "x") for data in files], [None] * 3)
        assert decoder.guard.sample(results).unwritten() == [place == lost for place in range(3)]
        for place, pixels in enumerate(results):
            if place != lost:
                np.testing.assert_array_equal(pixels.numpy(), as_pillow(files[place]))
        rest = results[lost].numpy()
        assert all((rest == earlier).mean() < 0.05 for earlier in seen)
        seen += [as_pillow(data) for data in files]


def test_memory_that_is_not_in_use_holds_no_image(skipping):
    decoder, _ = skipping
    for call, (width, height) in enumerate([(120, 90), (60, 40), (200, 160), (16, 16), (121, 83)]):
        decoded(decoder, *[jpeg(width, height, call + place) for place in range(1 + call % 3)])
        idle = decoder._sets[0]
        for output in idle.outputs:
            pattern = torch.zeros_like(output.memory)
            decoder.guard.wipe(pattern, pattern.numel())
            assert torch.equal(decoder._memory(output.image), pattern)


def test_nvimgcodec_decodes_twice_only_to_get_larger_memory(skipping):
    decoder, _ = skipping
    calls = decoder._decoder.calls
    small, large = jpeg(60, 40, 1), jpeg(300, 200, 2)
    for files, expected in [
        ([small, large], [(2, False), (2, True)]),
        ([small, large], [(1, True), (1, False), (2, True)]),  # one output is left from the check at opening
        ([large, small], [(2, True)]),  # the larger memory is taken for the larger file
        ([small], [(1, True)]),
        ([large, large], [(1, True), (2, True)]),
        ([large, large], [(1, True), (2, True)]),
        ([large, small], [(2, True)]),
    ]:
        calls.clear()
        for pixels, data in zip(decoded(decoder, *files), files, strict=True):
            np.testing.assert_array_equal(pixels, as_pillow(data))
        assert calls == expected


def test_nvimgcodec_waits_for_the_work_of_the_call_before_last_only(monkeypatch):
    pytest.importorskip("nvidia.nvimgcodec")
    decoder = open_decoder("nvimgcodec", CPU)
    for _ in range(2):
        decoded(decoder, jpeg(16, 16))  # from now on no memory is allocated
    log, number = [], itertools.count(1)

    class Event:
        def __init__(self):
            self.number = next(number)
            log.append(f"record {self.number}")

        def synchronize(self):
            log.append(f"wait {self.number}")

    monkeypatch.setattr(nvimgcodec, "record_event", lambda device: Event())
    for _ in range(4):
        decoded(decoder, jpeg(16, 16))
    # Event 1 is recorded when call 1 begins: before its own work, and after that of the call before.
    assert log == ["record 1", "record 2", "wait 1", "record 3", "wait 2", "record 4", "wait 3"]


@pytest.mark.parametrize(
    ("machine", "usable", "threads"), [(128, 128, 8), (128, 6, 6), (128, 2, 4), (2, 2, 2), (8, 1, 4), (None, 1, 1)]
)
def test_nvimgcodecs_thread_pool_is_small_on_any_machine(monkeypatch, machine, usable, threads):
    monkeypatch.setattr("os.cpu_count", lambda: machine)
    monkeypatch.setattr(nvimgcodec, "usable_cores", lambda: usable)
    assert nvimgcodec._decoder_threads() == threads


def run_python(code):
    """Run code in a new process, without a set verbosity; return what it prints and what libraries log."""
    environment = {name: value for name, value in os.environ.items() if "VERBOSITY" not in name}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return ran.stdout.strip(), ran.stderr


def test_nvimgcodec_logs_no_errors():
    pytest.importorskip("nvidia.nvimgcodec")
    code = (
        "import os, torch; from depth_anything_3.inputs.decode.gpu.registry import open_decoder;"
        "open_decoder('nvimgcodec', torch.device('cpu')); print(os.environ['PYNVIMGCODEC_VERBOSITY'])"
    )
    printed, logged = run_python(code)
    assert printed == "0"
    assert "ERROR" not in logged


def test_nvimgcodec_keeps_the_verbosity_that_was_asked_for(monkeypatch):
    pytest.importorskip("nvidia.nvimgcodec")
    monkeypatch.setenv("PYNVIMGCODEC_VERBOSITY", "2")
    open_decoder("nvimgcodec", CPU).close()
    assert os.environ["PYNVIMGCODEC_VERBOSITY"] == "2"


def images_of(decoder):
    return {output.image for outputs in decoder._sets for output in outputs.outputs}


def memory_held(decoder):
    return sum(image.capacity for image in images_of(decoder))


def test_memory_of_all_places_of_a_batch_stays_within_the_budget():
    """Each place keeps the largest image that it held, so a large image at each in turn would add up."""
    pytest.importorskip("nvidia.nvimgcodec")
    decoder = open_decoder("nvimgcodec", CPU)
    large, small = jpeg(200, 200, 1), jpeg(20, 20, 2)
    decoder._budget = 2 * 2 * 3 * 200 * 200
    held = []
    for place in [*range(6), 0, 0]:
        files = [small] * 6
        files[place] = large
        for pixels, data in zip(decoded(decoder, *files), files, strict=True):
            np.testing.assert_array_equal(pixels, as_pillow(data))
        held.append(memory_held(decoder))
    assert max(held) <= decoder._budget
    before = images_of(decoder)
    decoded(decoder, *files)
    decoded(decoder, *files)
    assert images_of(decoder) == before, "memory that fits is reused"


def test_a_call_beyond_the_budget_keeps_none_of_the_memory_before():
    pytest.importorskip("nvidia.nvimgcodec")
    decoder = open_decoder("nvimgcodec", CPU)
    decoder._budget = 2 * 3 * 200 * 200
    for _ in range(2):
        decoded(decoder, *[jpeg(100, 100)] * 2)
    before = images_of(decoder)
    for _ in range(2):
        assert not any(isinstance(one, str) for one in decoded(decoder, *[jpeg(300, 300)] * 2))
    assert not images_of(decoder) & before


def test_a_closed_decoder_holds_no_memory():
    pytest.importorskip("nvidia.nvimgcodec")
    decoder = open_decoder("nvimgcodec", CPU)
    decoded(decoder, jpeg())
    alive = weakref.ref(decoder._decoder)
    decoder.close()
    assert images_of(decoder) == set()
    assert alive() is None


def test_only_the_deprecation_of_torchvisions_decoders_is_silenced():
    pytest.importorskip("torchvision")
    open_decoder("torchvision", CPU)
    with pytest.warns(DeprecationWarning, match="something else"):
        warnings.warn("something else", DeprecationWarning, stacklevel=1)


def test_read_only_files_become_tensors_without_warning_or_sharing():
    data = jpeg()
    for given in (data, memoryview(data)):
        tensor = encoded_tensor(given)
        assert tensor.numpy().tobytes() == data
        tensor[0] = 0
        assert data[0] == 0xFF


# What is installed


def installed_as(monkeypatch, **versions: str) -> None:
    """Pretend that exactly these distributions are installed."""

    def version(name: str) -> str:
        try:
            return versions[name.replace("-", "_")]
        except KeyError:
            raise importlib.metadata.PackageNotFoundError(name) from None

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(installed, "_tagged_version", lambda package: None)


def names(found) -> list[str]:
    return [traits.name for traits in found.decoders]


def test_decoders_are_found_best_first(monkeypatch):
    installed_as(monkeypatch, nvidia_nvimgcodec_cu12="0.9.0.20", torchcodec="0.17.0+cu126", torchvision="0.29.2")
    found = find_decoders("cuda")
    assert names(found) == ["nvimgcodec", "torchcodec", "torchvision"]
    assert [traits.exact for traits in found.decoders] == [True, False, False]
    assert found.missing == ()


@pytest.mark.parametrize(
    ("device", "version", "exact"),
    [("cuda", (13, 0, 2), True), ("cuda", (12, 4, 0), False), ("cuda", None, True), ("cpu", (12, 4, 0), True)],
)
def test_nvimgcodec_is_exact_only_with_an_nvjpeg_that_may_round_as_libjpeg(monkeypatch, device, version, exact):
    installed_as(monkeypatch, nvidia_nvimgcodec_cu12="0.9.0.20")
    monkeypatch.setattr(nvimgcodec, "load_nvjpeg", object)
    monkeypatch.setattr(nvimgcodec, "nvjpeg_version", lambda load: version)
    assert nvimgcodec.find(device).exact is exact


def test_missing_decoders_are_listed_with_their_extra(monkeypatch):
    installed_as(monkeypatch)
    cuda, mps = find_decoders("cuda"), find_decoders("mps")
    assert names(cuda) == names(mps) == []
    for extra, text in zip(("cuda", "torchcodec", "torchvision", "macos"), cuda.missing + mps.missing, strict=True):
        assert f"pip install '.[{extra}]'" in text


def test_worse_decoders_are_not_listed_as_missing(monkeypatch):
    installed_as(monkeypatch, torchcodec="0.17.0")
    found = find_decoders("cuda")
    assert names(found) == ["torchcodec"]
    assert len(found.missing) == 1
    assert "nvimgcodec" in found.missing[0]


@pytest.mark.parametrize(
    ("versions", "reason"),
    [
        ({"torchcodec": "0.16.0"}, r"torchcodec 0\.16\.0 is too old .*corrupt.*0\.17"),
        ({"torchcodec": "0.17.0+cpu"}, r"torchcodec 0\.17\.0\+cpu was built without CUDA"),
        ({"torchvision": "0.29.2+cpu"}, r"torchvision 0\.29\.2\+cpu was built without CUDA"),
        ({"nvidia_nvimgcodec_cu13": "0.8.0.22"}, r"nvimgcodec 0\.8\.0\.22 is too old"),
    ],
    ids=["torchcodec races", "torchcodec for CPUs", "torchvision for CPUs", "nvimgcodec"],
)
def test_an_unsuitable_library_is_rejected_with_the_reason(monkeypatch, versions, reason):
    installed_as(monkeypatch, **versions)
    found = find_decoders("cuda")
    assert found.decoders == ()
    assert any(re.search(reason, text) for text in found.missing)
    name = next(iter(versions)).removeprefix("nvidia_").removesuffix("_cu13")
    with pytest.raises(UnsupportedError, match=reason):
        open_decoder(name, torch.device("cuda"))


@pytest.mark.parametrize("name", ["nvimgcodec", "torchcodec", "torchvision", "imageio"])
def test_opening_a_missing_decoder_names_the_extra(monkeypatch, name):
    installed_as(monkeypatch)
    with pytest.raises(UnsupportedError, match=r"is not installed; run pip install '\.\["):
        open_decoder(name, CPU)


def test_an_unknown_decoder_is_rejected_with_the_known_ones():
    with pytest.raises(UnsupportedError, match="'nvjpeg' is not one of nvimgcodec, torchcodec"):
        open_decoder("nvjpeg", CPU)


def test_a_cpu_has_no_device_decoders():
    assert find_decoders("cpu") == ((), ())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", LIBRARIES)
def test_without_a_gpu_opening_a_gpu_decoder_raises_and_never_crashes(name):
    with pytest.raises(UnsupportedError, match=name):
        open_decoder(name, torch.device("cuda", 0))


def test_looking_for_decoders_imports_none_of_their_libraries():
    code = (
        "import sys; from depth_anything_3.inputs.decode.gpu.registry import find_decoders;"
        "find_decoders('cuda'); find_decoders('mps');"
        "print([name for name in ('torch', 'torchcodec', 'torchvision', 'nvidia.nvimgcodec') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
