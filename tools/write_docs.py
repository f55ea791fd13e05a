"""Write the generated tables of docs/: export formats and preprocessing options.

python tools/write_docs.py
"""

from __future__ import annotations

from pathlib import Path

from depth_anything_3.cli import app
from depth_anything_3.cli.flag_groups import flags_table
from depth_anything_3.export.registry import formats_table, options_table
from depth_anything_3.inputs.options import PreprocessOptions

DOCS = Path(__file__).parents[1] / "docs"


def tables() -> dict[Path, dict[str, str]]:
    """The tables of each page, by the name of their markers."""
    commands = {str(one.name): one.callback for one in app.registered_commands if one.callback is not None}
    return {
        DOCS / "options.md": {"options": flags_table(PreprocessOptions, commands)},
        DOCS / "exports.md": {"formats": formats_table(), "options": options_table()},
    }


def with_tables(text: str, written: dict[str, str]) -> str:
    """The text of a page with its tables between their markers."""
    for name, table in written.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = before + begin + table.strip() + "\n" + end + after
    return text


def main() -> None:
    """Write every page anew."""
    for page, written in tables().items():
        page.write_text(with_tables(page.read_text(encoding="utf-8"), written), encoding="utf-8")


if __name__ == "__main__":
    main()
