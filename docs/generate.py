"""Write the generated blocks of the documents: numbers, tables, help texts and the reference of the interface.

    python docs/generate.py            rewrite the blocks between their markers
    python docs/generate.py --check    change nothing; name the stale files and exit with status 1

A block stands between ``<!-- generated: NAME WORDS -->`` and ``<!-- end -->`` and is what the function NAME of
docs/blocks.py or docs/interface.py returns for WORDS.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- generated: (?P<call>[^\n]+?) -->\n).*?(<!-- end -->)", re.S)


def documents() -> list[Path]:
    """The Markdown files that may hold blocks."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def filled(text: str) -> str:
    """``text`` with every block computed anew."""
    import blocks
    import interface  # noqa: F401 - registers its block

    def fill(match: re.Match[str]) -> str:
        name, *words = shlex.split(match["call"])
        if name not in blocks.BLOCKS:
            raise SystemExit(f"unknown block {name!r} (there are: {', '.join(sorted(blocks.BLOCKS))})")
        return f"{match[1]}\n{blocks.BLOCKS[name](*words).strip()}\n\n{match[3]}"

    return BLOCK.sub(fill, text)


def stale() -> Iterator[tuple[Path, str]]:
    """(file, text as it should be) of every document whose blocks are not what the code computes."""
    for path in documents():
        text = path.read_text("utf-8")
        new = filled(text)
        if new != text:
            yield path, new


def prepare() -> None:
    """The same output everywhere: 80 columns, no defaults of the user, the code of this tree."""
    os.environ.update(COLUMNS="80", LINES="40", ROOFLINE_CONFIG=os.devnull)
    for folder in (ROOT, ROOT / "docs"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def main() -> int:
    """Rewrite the documents, or only check them."""
    prepare()
    found = list(stale())
    check = "--check" in sys.argv[1:]
    for path, text in found:
        print(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            temporary = path.with_suffix(".tmp")
            temporary.write_text(text, "utf-8")
            temporary.replace(path)
    return 1 if check and found else 0


if __name__ == "__main__":
    raise SystemExit(main())
