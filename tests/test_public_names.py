"""The names that users import, and what importing them costs."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
import typing

import pytest
import torch

import depth_anything_3
from depth_anything_3 import errors
from depth_anything_3.runtime import devices

MODULES = [
    "depth_anything_3",
    *(module.name for module in pkgutil.walk_packages(depth_anything_3.__path__, "depth_anything_3.")),
]
HEAVY = ("torch", "numpy", "cv2", "numba", "PIL", "huggingface_hub", "safetensors", "fastapi", "starlette", "uvicorn")


@pytest.mark.parametrize("name", MODULES)
def test_every_listed_name_is_there(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if str(missing.name).startswith("depth_anything_3"):
            raise
        pytest.skip(f"{missing.name} is not installed, which this module wraps")
    listed = getattr(module, "__all__", [])
    assert len(set(listed)) == len(listed)
    assert [one for one in listed if not hasattr(module, one)] == []


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("DepthAnything3", "depth_anything_3.api"),
        ("Prediction", "depth_anything_3.prediction"),
        ("InputProcessor", "depth_anything_3.utils.io.input_processor"),
        ("GPUInputProcessor", "depth_anything_3.utils.io.gpu_input_processor"),
        ("Strategy", "depth_anything_3.inputs.routing.strategy"),
        ("Fidelity", "depth_anything_3.inputs.routing.strategy"),
        ("DA3Error", "depth_anything_3.errors"),
    ],
)
def test_a_name_of_the_package_is_the_one_of_its_module(name, home):
    assert getattr(depth_anything_3, name) is getattr(importlib.import_module(home), name)


@pytest.mark.parametrize("package", ["depth_anything_3", "depth_anything_3.export", "depth_anything_3.model"])
def test_dir_lists_the_public_names_and_the_modules(package):
    listed = dir(importlib.import_module(package))
    assert set(importlib.import_module(package).__all__) < set(listed)
    modules = {name.removeprefix(f"{package}.") for name in MODULES if name.startswith(f"{package}.")}
    assert {name for name in modules if "." not in name and name != "__main__"} < set(listed)


CHOICES = {
    "Colormap": "export.format_options",
    "Executor": "inputs.choices",
    "Exif": "inputs.choices",
    "Fidelity": "inputs.choices",
    "MixedSizes": "inputs.choices",
    "OnError": "inputs.choices",
    "OutputSize": "inputs.choices",
    "ProcessResMethod": "inputs.choices",
    "Strategy": "inputs.choices",
    "Upsampling": "inputs.choices",
    "RefViewStrategy": "model.choices",
    "Temporal": "inference.video.temporal_smoothing",
    "VideoMode": "inference.video.options",
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_strings_for_type_checkers_are_those_of_the_enum(name):
    module = importlib.import_module(f"depth_anything_3.{CHOICES[name]}")
    strings = typing.get_args(getattr(module, f"{name}Name"))
    assert sorted(strings) == sorted(one.value for one in getattr(module, name))


def test_every_dtype_for_type_checkers_is_accepted():
    assert [devices.parse_dtype(name) for name in typing.get_args(devices.DtypeName)] == [
        *(None, torch.float32, torch.bfloat16, torch.float16)
    ]


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'DepthAnything4'"):
        depth_anything_3.DepthAnything4  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import depth_anything_3, depth_anything_3.errors", id="package"),
        pytest.param("from depth_anything_3.cli import app; app(['--help'], standalone_mode=False)", id="da3 --help"),
        pytest.param(
            "from depth_anything_3.cli import app; app(['images', '--help'], standalone_mode=False)",
            id="da3 images --help",
        ),
    ],
)
def test_importing_the_package_or_asking_for_help_loads_nothing_heavy(code):
    report = f"{code}\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


# Errors

ERRORS = [value for value in vars(errors).values() if isinstance(value, type) and value.__module__ == errors.__name__]


def test_every_error_is_public():
    assert sorted(error.__name__ for error in ERRORS) == errors.__all__


def test_the_docstring_draws_the_tree_of_errors():
    drawn, path = {}, []
    for branch, name, builtins in re.findall(
        r"^( *[│├└─ ]*)(\w+Error)(?: \((\w+)\)| |$)", errors.__doc__, re.MULTILINE
    ):
        depth = len(branch) // 4 - 1
        path[depth:] = [name]
        drawn[name] = [*path[:-1][-1:], *builtins.split()]
    actual = {error.__name__: [base.__name__ for base in error.__bases__] for error in ERRORS}
    assert drawn == actual | {"DA3Error": []}


@pytest.mark.parametrize(
    ("error", "caught_as"),
    [
        (errors.InvalidInputError, ValueError),
        (errors.ImageTypeError, TypeError),
        (errors.ImageReadError, OSError),
        (errors.ImageDecodeError, ValueError),
        (errors.CheckpointNotFoundError, FileNotFoundError),
        (errors.CheckpointFormatError, ValueError),
        (errors.ExportError, OSError),
    ],
)
def test_errors_can_be_caught_as_the_builtin_a_caller_expects(error, caught_as):
    assert issubclass(error, caught_as)
    assert issubclass(error, errors.DA3Error)
