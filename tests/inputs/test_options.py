"""One record holds every preprocessing choice: parsed once, and names that it does not have are refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest

from depth_anything_3.errors import InvalidInputError, UnsupportedError
from depth_anything_3.inputs.choices import Executor, Exif, Fidelity, OnError, Strategy
from depth_anything_3.inputs.options import InputKwargs, PreprocessKwargs, PreprocessOptions, ViewKwargs
from depth_anything_3.utils.io.gpu_input_processor import GPUInputProcessor
from depth_anything_3.utils.io.input_processor import InputProcessor
from support.fake_gpu import gpu_with
from support.images import jpeg

IMAGE = np.zeros((56, 56, 3), np.uint8)


def test_strings_become_enums_and_records_compare_by_value():
    options = PreprocessOptions(exif="ignore", fidelity="fast", strategy="cpu", executor="process", on_error="skip")
    assert (options.exif, options.fidelity) == (Exif.IGNORE, Fidelity.FAST)
    assert (options.strategy, options.executor, options.on_error) == (Strategy.CPU, Executor.PROCESS, OnError.SKIP)
    assert options == PreprocessOptions(
        exif=Exif.IGNORE,
        fidelity=Fidelity.FAST,
        strategy=Strategy.CPU,
        executor=Executor.PROCESS,
        on_error=OnError.SKIP,
    )
    assert options != PreprocessOptions()
    assert type(PreprocessOptions(process_res=np.int64(98)).process_res) is int


def test_keywords_are_the_fields_of_the_record():
    names = {one.name for one in fields(PreprocessOptions)}
    assert PreprocessKwargs.__annotations__.keys() | ViewKwargs.__annotations__.keys() == names
    assert InputKwargs.__annotations__.keys() == names - {"process_res", "process_res_method", "mixed_sizes"}


def test_result_settings_exclude_options_that_do_not_affect_results():
    settings = PreprocessOptions(num_workers=3, executor="process", strategy="cpu").result_settings()
    assert settings == PreprocessOptions().result_settings()
    assert settings.keys() == {
        *("process_res", "process_res_method", "exif", "mixed_sizes", "fidelity", "allow_truncated")
    }
    assert settings["process_res_method"] == "upper_bound_resize"


@pytest.mark.parametrize("name", ["inference", "depth", "stream", "stream_video", "batch_inference"])
def test_an_unknown_argument_is_rejected_with_the_closest_name(seeded_small, name):
    with pytest.raises(InvalidInputError, match=rf"^{name}\(\) ") as raised:
        getattr(seeded_small, name)([IMAGE], num_worker=28)
    assert "has no argument 'num_worker'; did you mean 'num_workers'? It accepts: " in str(raised.value)
    assert "fidelity" in str(raised.value)


def test_an_unknown_argument_unlike_any_other_lists_them_all():
    with pytest.raises(
        InvalidInputError, match=r"^InputProcessor\(\) has no argument 'zzz'\. It accepts: .*process_res"
    ):
        InputProcessor()([IMAGE], zzz=1)


def test_an_argument_for_views_is_unknown_to_a_stream(seeded_small):
    with pytest.raises(InvalidInputError, match=r"stream\(\) has no argument 'mixed_sizes'"):
        seeded_small.stream([IMAGE], mixed_sizes="pad")


def test_processes_compute_the_depth_that_threads_do(seeded_small):
    images = [jpeg(120, 90, seed) for seed in range(2)]
    threads = seeded_small.depth(images, process_res=56)
    processes = seeded_small.depth(images, process_res=56, num_workers=1, executor="process")
    for one, other in zip(threads, processes, strict=True):
        np.testing.assert_array_equal(one.depth, other.depth)
    seeded_small.input_processor.close()


def test_processes_are_rejected_for_a_gpu():
    with GPUInputProcessor("cpu", capabilities=gpu_with()) as processor:
        refused = pytest.raises(UnsupportedError, match="executor='process' requires a network on the CPU")
        with refused:
            processor([jpeg(120, 90)], executor="process")


TYPO = """
from typing_extensions import assert_type

from depth_anything_3 import DepthAnything3, InputProcessor, Prediction

model = DepthAnything3("da3-small")
model.stream(["a.jpg"], proces_res=28)
model.inference(["a.jpg"], fidelty="fast")
model.stream_video("a.mp4", evry=2)
InputProcessor()(["a.jpg"], num_worker=1)
assert_type(model.depth("a.jpg"), Prediction)
assert_type(model.depth(["a.jpg"], process_res=28, fidelity="fast", batch_size="auto"), list[Prediction])
model.stream(["a.jpg"], fidelity="fats")
"""


@pytest.mark.slow  # a type checker reads torch
def test_an_unknown_argument_is_an_error_for_the_type_checker(tmp_path):
    (tmp_path / "typo.py").write_text(TYPO)
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "typo.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if "typo.py" in line and "error" in line]
    *unexpected, choice = found
    assert [line.partition("Unexpected keyword argument ")[2].split()[0] for line in unexpected] == [
        *('"proces_res"', '"fidelty"', '"evry"', '"num_worker"')
    ]
    assert "expected \"Fidelity | Literal['exact', 'high', 'fast']\"" in choice
