"""A module imports only from its own layer or one below it, and no module imports itself by way of others."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from depth_anything_3.inputs import limits
from depth_anything_3.model import catalog

PACKAGE = Path(__file__).parents[1] / "src" / "depth_anything_3"
NAME = PACKAGE.name

# From the ground up. Folders of one row do not import each other.
LAYERS = (
    ("errors",),
    ("runtime",),
    ("inputs", "model"),
    ("prediction",),
    ("utils.io",),
    ("exported",),
    ("inference",),
    ("export",),
    ("api",),
    ("jobs", "diagnostics"),
    ("services",),
    ("cli",),
)

# Kept for clients of upstream: they may import anything but the command, and nothing of ours imports them.
UPSTREAM = (
    "cfg",
    "model.da3",
    "registry",
    "services.inference_service",
    "services.input_handlers",
    "specs",
    "utils.alignment",
    "utils.constants",
    "utils.export",
    "utils.geometry",
    "utils.gsply_helpers",
    "utils.logger",
    "utils.memory",
    "utils.pose_align",
    "utils.visualize",
)


# Methods of `Prediction` that write or show it: users look for them there. They import when they are called.
DOORS = {
    ("prediction.prediction", target)
    for target in ("export.display", "export.format_options", "export.options", "export.save", "prediction.summary")
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(name: str) -> set[str]:
    """The modules of the package that a module imports anywhere in it, for type checkers alone too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {one if one in MODULES else str(node.module) for one in inner}
    return {one for one in found if one in MODULES} - {name}


def is_within(name: str, folders: Iterable[str]) -> bool:
    """Whether a module is one of these, or inside one."""
    inner = name.removeprefix(f"{NAME}.")
    return any(inner == folder or inner.startswith(f"{folder}.") for folder in folders)


def layer(name: str) -> int | None:
    """The place of a module's layer; None of the package itself and of one that has no layer."""
    if is_within(name, UPSTREAM):
        return None
    for place, folders in enumerate(LAYERS):
        if is_within(name, folders):
            return place
    return None


def is_door(name: str, target: str) -> bool:
    """Whether a module may import another one, of a higher layer, inside a function or for type checkers."""
    return (name.removeprefix(f"{NAME}."), target.removeprefix(f"{NAME}.")) in DOORS


IMPORTS = {name: {one for one in imports(name) if not is_door(name, one)} for name in MODULES}


def test_every_module_has_a_layer():
    without = [name for name in MODULES if layer(name) is None and not is_within(name, UPSTREAM)]
    assert without == [NAME, f"{NAME}.__main__", f"{NAME}.utils"]


def breaks() -> set[tuple[str, str]]:
    found = set()
    for name, targets in IMPORTS.items():
        own = layer(name)
        if own is None:
            continue
        for target in targets:
            other = layer(target)
            apart = other == own and name.split(".")[1] != target.split(".")[1]
            if other is None or other > own or apart:
                found.add((name.removeprefix(f"{NAME}."), target.removeprefix(f"{NAME}.")))
    return found


def test_imports_point_downwards():
    assert sorted(breaks()) == []


def test_modules_kept_for_clients_of_upstream_are_thin():
    kept = {name for name in MODULES if is_within(name, UPSTREAM)}
    assert {name for name in kept if any(is_within(target, ["cli"]) for target in IMPORTS[name])} == set()
    assert {name for name in set(MODULES) - kept if IMPORTS[name] & kept} == set()
    documented = {name for name in kept if "Kept for clients of upstream" in MODULES[name].read_text(encoding="utf-8")}
    assert kept - documented == {f"{NAME}.utils.export.write_format"}


def circle(name: str) -> tuple[str, ...] | None:
    """A way from a module back to itself, if there is one."""
    seen: set[str] = set()
    waiting = [(name,)]
    while waiting:
        path = waiting.pop()
        for target in IMPORTS[path[-1]]:
            if target == name:
                return *path, target
            if target not in seen:
                seen.add(target)
                waiting.append((*path, target))
    return None


def test_no_module_imports_itself_by_way_of_others():
    assert {name: path for name in MODULES if (path := circle(name))} == {}


def test_layers_that_may_not_import_each_other_agree_on_the_patch_size():
    assert catalog.PATCH_SIZE == limits.PATCH_SIZE
