"""Make the pages of the site from the documents of the repository; a hook of mkdocs.

The documents are written for GitHub: a translation is named ``page_zh.md``, links lead to any file of the
repository, and a fence may name the file that its code is. The site wants ``page.zh.md``, links within its
pages, and titles of fences.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "https://github.com/spacemit-com/xslim/blob/main"

SPECIAL = {
    "README.md": "index.md",
    "README_zh.md": "index.zh.md",
    "CHANGELOG.md": "changelog.md",
    "examples/quickstart/README.md": "quick-start.md",
    "examples/quickstart/README_zh.md": "quick-start.zh.md",
}
"""Pages that are not in ``docs``."""

LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)\s]+)(?=\))")
SWITCH = re.compile(r"^(English|\[English\]\(\S+\)) \| (中文|\[中文\]\(\S+\))\n+", re.MULTILINE)
"""Line that leads to the other language, which the header of the site does as well."""
CHINESE_BREAK = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef])\n[ ]*(?=[\u3000-\u9fff\uff00-\uffef])")
"""End of a line within a Chinese sentence, which a browser would show as a blank."""
FENCE_FILE = re.compile(r"^(```\w+) file=(\S+)$", re.MULTILINE)


def pages(root: Path = ROOT) -> dict[str, str]:
    """Return the page of every document, both relative: to the repository and to the site."""
    docs = sorted((root / "docs").glob("*.md"))
    named = {f"docs/{path.name}": re.sub(r"_zh\.md$", ".zh.md", path.name) for path in docs}
    return named | {source: page for source, page in SPECIAL.items() if (root / source).is_file()}


def page_text(source: str, root: Path = ROOT) -> str:
    """Return the text of a document as the site wants it."""
    known = pages(root)
    folder = (root / source).parent

    def rewritten(match: re.Match[str]) -> str:
        target, mark, anchor = match["target"].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        path = (folder / target).resolve().relative_to(root).as_posix()
        # A page and its translation have one link: the site shows the language that is being read.
        place = known[path].replace(".zh.md", ".md") if path in known else f"{REPOSITORY}/{path}"
        return f"{match['before']}{place}{mark}{anchor}"

    text = (root / source).read_text("utf-8")
    parts = re.split(r"(^```.*?^```[ \t]*$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        FENCE_FILE.sub(r'\1 title="\2"', part)
        if part.startswith("```")
        else LINK.sub(rewritten, CHINESE_BREAK.sub("", SWITCH.sub("", part)))
        for part in parts
    )


def write_pages(folder: Path, root: Path = ROOT) -> None:
    """Write all pages into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for source, page in pages(root).items():
        (folder / page).write_text(page_text(source, root), "utf-8")


def on_config(config: MkDocsConfig, **_: Any) -> MkDocsConfig:
    """Let mkdocs read the written pages instead of ``docs``."""
    folder = ROOT / "build" / "site-pages"
    write_pages(folder)
    config.docs_dir = str(folder)
    return config
