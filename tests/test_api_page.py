"""docs/api.md names every public object, with today's signatures."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import pytest

import depth_anything_3
from depth_anything_3 import DepthAnything3, errors, export
from depth_anything_3.inference.network_module import NetworkModule

PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
IMPORT = re.compile(r"^### `(\w+)`\n\n```python\nfrom ([\w.]+) import (\w+)$", re.MULTILINE)
OBJECTS = {name: getattr(importlib.import_module(module), name) for name, module, _ in IMPORT.findall(PAGE)}
METHODS = re.findall(r"^#### `(\w+)\.(\w+)`\n\n```python$", PAGE, re.MULTILINE)


def section(title: str) -> str:
    """The text below a heading, to the next one."""
    _, _, rest = PAGE.partition(f"# `{title}`\n")
    assert rest, title
    return re.split(r"^#{2,4} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def parameters(title: str) -> list[tuple[str, bool]]:
    """Names of the parameters that the page gives, and whether each has a default."""
    name = title.split(".")[-1]
    (call,) = re.findall(rf"^{name}\(.*?\)(?: -> .*?)?$(?=\n```)", section(title), re.MULTILINE | re.DOTALL)
    arguments = ast.parse(f"def {call}: ...").body[0].args
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    found = [(one.arg, place >= required) for place, one in enumerate(positional)]
    found += [(arguments.vararg.arg, False)] if arguments.vararg else []
    found += [
        (one.arg, default is not None) for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return found + ([(arguments.kwarg.arg, False)] if arguments.kwarg else [])


def actual(function) -> list[tuple[str, bool]]:
    signature = inspect.signature(function)
    return [(name, one.default is not one.empty) for name, one in signature.parameters.items() if name != "self"]


@pytest.mark.parametrize(
    "name", sorted({*depth_anything_3.__all__, *export.__all__, *errors.__all__} - {"__version__"})
)
def test_every_public_name_is_on_the_page(name):
    assert f"`{name}`" in PAGE or f".{name}`" in PAGE


def test_every_method_of_the_model_is_on_the_page():
    public = {name for one in (DepthAnything3, NetworkModule) for name in vars(one) if not name.startswith("_")}
    on_page = set(re.findall(r"^#### `DepthAnything3\.(\w+)`$", PAGE, re.MULTILINE))
    assert public - on_page == {"engine"}  # for the other layers of the package


@pytest.mark.parametrize("name", [name for name, value in OBJECTS.items() if f"\n{name}(" in section(name)])
def test_a_signature_is_that_of_the_object(name):
    assert parameters(name) == actual(OBJECTS[name])


@pytest.mark.parametrize(("owner", "name"), METHODS)
def test_a_signature_is_that_of_the_method(owner, name):
    assert parameters(f"{owner}.{name}") == actual(getattr(OBJECTS[owner], name))


@pytest.mark.parametrize("name", [name for name, value in OBJECTS.items() if dataclasses.is_dataclass(value)])
def test_every_field_of_a_record_is_described(name):
    text = section(name)
    assert [one.name for one in dataclasses.fields(OBJECTS[name]) if not re.search(rf"\b{one.name}\b", text)] == []
