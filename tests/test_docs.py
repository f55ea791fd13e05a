"""README and docs: links, paths, names, commands and snippets are those of today's code."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
import typer

from depth_anything_3 import api
from depth_anything_3.cli import app
from depth_anything_3.diagnostics.synthetic import photo
from depth_anything_3.errors import DA3Error
from depth_anything_3.inputs.options import PreprocessOptions
from depth_anything_3.runtime.version import __version__
from support.images import encoded, write
from support.markdown import RUNNABLE, Code, Page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "depth_anything_3"
SOURCES = sorted(
    path for folder in ("src", "tests", "benchmarks", "tools", "examples") for path in (ROOT / folder).rglob("*.py")
)
PAGES = {
    path.relative_to(ROOT).as_posix(): Page(path)
    for pattern in ("*.md", "docs/**/*.md", "tools/**/*.md")
    for path in sorted(ROOT.glob(pattern))
}
PYTHON, SHELL = ("python", "py"), ("bash", "sh", "shell", "console")
SNIPPETS = [
    pytest.param(code, id=f"{name}:{code.line}")
    for name, page in PAGES.items()
    for code in page.fences
    if code.language in PYTHON
]
COMMANDS = typer.main.get_command(app).commands
CHECKS: dict[str, Callable[[Page], Iterator[tuple[int, str]]]] = {}
"""By what they check: functions that yield line and description of each fault of a page."""


def check(function: Callable[[Page], Iterator[tuple[int, str]]]) -> Callable[[Page], Iterator[tuple[int, str]]]:
    CHECKS[function.__name__] = function
    return function


# Links


def link_fault(page: Path, target: str) -> str | None:
    """What is wrong with a link, or None. Addresses outside the repository are not looked at."""
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return None
    file, _, anchor = target.partition("#")
    path = (page.parent / file).resolve() if file else page
    if not path.exists():
        return f"there is no file {file}"
    if anchor and path.suffix == ".md" and anchor not in Page(path).anchors():
        return f"{path.name} has no heading #{anchor}; it has {', '.join(sorted(Page(path).anchors()))}"
    return None


@check
def links(page: Page) -> Iterator[tuple[int, str]]:
    for line, target in page.links():
        if fault := link_fault(page.path, target):
            yield line, f"link to {target}: {fault}"


def test_pages_that_the_code_cites_exist():
    faults = [
        f"{file.relative_to(ROOT)}:{number}: {target}: {fault}"
        for file in SOURCES
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        for target in re.findall(r"(?<![\w/])docs/[\w-]+\.md(?:#[\w-]+)?", line)
        if (fault := link_fault(ROOT / "README.md", target))
    ]
    assert not faults, "\n".join(faults)


# Paths and names of the repository


@cache
def folder_names() -> set[str]:
    """Folders of the repository and of the package; not those that commands make."""
    folders = {path.name for base in (ROOT, PACKAGE) for path in base.iterdir() if path.is_dir()}
    return folders - {"debug", "demo", "dist", "build"}


def is_missing(word: str) -> bool:
    """Whether a word is a path of the repository, and there is no such file or folder."""
    parts = word.strip("/").split("/")
    if not re.fullmatch(r"[\w./-]+", word) or any(part.partition(".")[0].isupper() for part in parts):
        return False  # not a path, or a pattern or placeholder
    if any((base / word).exists() for base in (ROOT, PACKAGE, ROOT / "tests")):
        return False
    if word.endswith(".py"):
        return not any(file.as_posix().endswith(f"/{word}") for file in SOURCES)
    return len(parts) > 1 and parts[0] in folder_names()


@check
def paths(page: Page) -> Iterator[tuple[int, str]]:
    for code in (*page.spans, *(one for one in page.fences if one.language in SHELL)):
        for word in code.text.split():
            bare = word.strip("'\",;:()").removeprefix("./")
            if is_missing(bare):
                yield code.line, f"`{bare}`: there is no such file or folder in the repository"


def is_defined(dotted: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        with suppress(ModuleNotFoundError):
            found = importlib.import_module(".".join(parts[:count]))
            for part in parts[count:]:
                if not hasattr(found, part):
                    return False
                found = getattr(found, part)
            return True
    return False


@check
def names(page: Page) -> Iterator[tuple[int, str]]:
    for code in (*page.spans, *page.fences):
        for dotted in re.findall(r"(?<![\w/.-])depth_anything_3(?:\.[A-Za-z_]\w*)+", code.text):
            if not is_defined(dotted):
                yield code.line, f"`{dotted}`: there is no such module or name"


def test_the_architecture_page_lists_the_layers():
    tree = ast.parse((ROOT / "tests" / "test_layers.py").read_text(encoding="utf-8"))
    values = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    listed = " < ".join(", ".join(row) for row in ast.literal_eval(values["LAYERS"]))
    assert listed in " ".join((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split()), listed


def test_the_citation_states_the_version():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


# Python snippets


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_snippet_compiles_and_uses_what_exists(code):
    faults = list(snippet_faults(parse_python(code.text)))
    assert not faults, "\n".join(faults)


def parse_python(text: str) -> ast.Module:
    """Parse code, or a signature without a body, as references show it."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        signature = re.sub(r"^(?!from |import )(?=\w+\()", "def ", text.rstrip(), count=1, flags=re.MULTILINE)
        try:
            tree = ast.parse(f"{signature}: ...")
        except SyntaxError:
            tree = ast.parse(text)  # raises the error of the text as it is
    compile(tree, "<snippet>", "exec")
    return tree


def snippet_faults(tree: ast.AST) -> Iterator[str]:
    """Imports from the package, and arguments of methods of `DepthAnything3`, that do not exist."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "depth_anything_3":
            wanted = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (f"there is no {name}" for name in wanted if not is_defined(name))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            taken = arguments_of(node.func.attr)
            for given in node.keywords if taken else ():
                if given.arg and given.arg not in taken:
                    yield f"DepthAnything3.{node.func.attr}() has no argument {given.arg}"


def arguments_of(method: str) -> set[str]:
    """Names of a method's arguments, with those of its `Unpack[...]`; none if it is not one of `DepthAnything3`."""
    function = inspect.getattr_static(api.DepthAnything3, method, None)
    function = getattr(function, "__func__", function)
    if not inspect.isfunction(function):
        return set()
    taken = inspect.signature(function).parameters
    unpacked = [re.search(r"Unpack\[(\w+)\]", str(one.annotation)) for one in taken.values()]
    return {*taken, *(name for one in unpacked if one for name in function.__globals__[one[1]].__annotations__)}


@pytest.mark.parametrize("code", [one for one in SNIPPETS if one.values[0].runnable])
def test_a_runnable_snippet_runs(code, tmp_path, monkeypatch):
    """The images that it names lie in the working directory."""
    monkeypatch.chdir(tmp_path)
    constants = {node.value for node in ast.walk(ast.parse(code.text)) if isinstance(node, ast.Constant)}
    for seed, file in enumerate(sorted(one for one in constants if str(one).endswith((".jpg", ".png")))):
        write(tmp_path / file, encoded(photo(160, 120, seed), "PNG" if file.endswith(".png") else "JPEG"))
    exec(compile(code.text, "<snippet>", "exec"), {"__name__": "__main__"})


# The command line


@check
def commands(page: Page) -> Iterator[tuple[int, str]]:
    for code in page.fences:
        if code.language in SHELL:
            for arguments in command_lines(code.text):
                if fault := parse_fault(arguments):
                    yield code.line, f"da3 {shlex.join(arguments)}: {fault}"
    for code in page.spans:
        if code.text.startswith("da3 "):
            yield from ((code.line, f"`{code.text}`: {fault}") for fault in mention_faults(code))


def command_lines(text: str) -> Iterator[list[str]]:
    """The arguments of every `da3 ...` in shell code, without --debug, which may stand anywhere."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        command: list[str] = []
        for word in (*lexer, ";"):
            if word.strip(";&|"):
                command.append(word)
                continue
            while command and (command[0] in ("$", "uv", "run") or re.match(r"\w+=", command[0])):
                del command[0]
            if command[:1] == ["da3"]:
                yield [one for one in command[1:] if one != "--debug"]
            command = []


def parse_fault(arguments: list[str]) -> str | None:
    """Parse a command line as `da3` does, without running it: what is wrong, or None."""
    if arguments[:1] in (["--install-completion"], ["--show-completion"]):  # they act while they are parsed
        return None
    name, *rest = arguments or ["--help"]
    is_command = not name.startswith("-")
    if is_command and name not in COMMANDS:
        return f"there is no command {name}; there are {', '.join(COMMANDS)}"
    try:
        command = COMMANDS[name] if is_command else typer.main.get_command(app)
        given = command.make_context(name, rest if is_command else [name, *rest]).params
        chosen = {one.name: given.get(one.name) for one in fields(PreprocessOptions)}
        PreprocessOptions(**{one: value for one, value in chosen.items() if value is not None})
    except typer.Exit:  # --help
        return None
    except DA3Error as error:
        return str(error)
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's errors of usage, whose classes are not public
            raise
        return str(error.format_message())
    return None


def mention_faults(code: Code) -> Iterator[str]:
    """Commands in a sentence are cut short: their names and flags are checked, not what is missing."""
    name, *rest = [one.strip(",") for one in code.text.split()[1:] if one != "--debug"] or ["..."]
    if name.isupper() or name.startswith((".", "-")):
        return
    for one in re.split(r"[|/]", name):
        if one not in COMMANDS:
            yield f"there is no command {one}; there are {', '.join(COMMANDS)}"
            continue
        unknown = {word.partition("=")[0] for word in rest if word.startswith("--")} - flags(one)
        yield from (f"da3 {one} has no {flag}" for flag in sorted(unknown))


def flags(command: str) -> set[str]:
    taken = (flag for one in COMMANDS[command].params for flag in (*one.opts, *one.secondary_opts))
    return {*taken, "-h", "--help", "--version"}


@cache
def other_flags() -> set[str]:
    """Flags of benchmarks, tools and tests."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES if path != Path(__file__))
    text += (ROOT / "scripts" / "check").read_text(encoding="utf-8")
    return set(re.findall(r"--[a-z][\w-]*", text))


@check
def flags_that_stand_alone(page: Page) -> Iterator[tuple[int, str]]:
    known = other_flags().union(*map(flags, COMMANDS))
    for code in page.spans:
        flag = re.match(r"--[a-z][\w-]*", code.text)
        if flag and flag[0] not in known:
            yield code.line, f"`{code.text}`: no command, benchmark or tool has this flag"


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("checked", CHECKS)
def test_a_page_agrees_with_the_repository(name, checked):
    faults = [f"{name}:{line}: {fault}" for line, fault in sorted(set(CHECKS[checked](PAGES[name])))]
    assert not faults, "\n".join(faults)


FAULTY = f"""# A title, with `code`
[one](#a-title-with-code) [two](#no-heading) [![three](no.png)](no.md)
`inputs/no.py`, `docs/no`, `inputs/NAME.py`, `depth_anything_3.api.NoClass`, `--no-flag`, `da3 images --no-flag`
```bash
da3 images photos/ --exif no; da3 video  # no file
uv run da3 image a.jpg --process-res \\
    280
```
{RUNNABLE}
```python
from depth_anything_3 import NoName
model.stream([], no_argument=1, exif="ignore")
```
"""


def test_the_checks_find_faults(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(FAULTY, encoding="utf-8")
    page = Page(path)
    found = {name: [line for line, _ in function(page)] for name, function in CHECKS.items()}
    assert found == {
        "links": [2, 2, 2],
        "paths": [3, 3],
        "names": [3],
        "commands": [5, 5, 3],
        "flags_that_stand_alone": [3],
    }
    shell, snippet = page.fences
    assert snippet.runnable
    assert not shell.runnable
    assert len(list(snippet_faults(ast.parse(snippet.text)))) == 2
