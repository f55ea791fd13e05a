"""The generated parts of docs/ are those of today's code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "tools" / "write_docs.py"


@pytest.fixture(scope="module")
def write_docs():
    spec = importlib.util.spec_from_file_location("write_docs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["options.md", "exports.md", "api.md"])
def test_the_tables_of_a_page_are_up_to_date(write_docs, page):
    path = next(one for one in write_docs.tables() if one.name == page)
    written, text = write_docs.tables()[path], path.read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in text for name in written)
    assert write_docs.with_tables(text, written) == text, "python tools/write_docs.py writes it anew"
