"""``xslim schema``: the JSON Schema of the configuration, for editors and other programs."""

from __future__ import annotations

import json
import os
from pathlib import Path

from xslim.commands.text import say, say_json
from xslim.config import schema
from xslim.errors import OutputError
from xslim.files import write_whole


def run(output: str | None) -> int:
    """Print the schema, or write it to a file."""
    if output is None:
        say_json(schema())
        return 0
    path, content = Path(output), schema()
    # For a name that is too long, Path.is_file raises and os.path.isfile is false; writing reports the error.
    if os.path.isfile(path) and not _is_schema(path, content["title"]):  # noqa: PTH113
        raise OutputError(
            "exists already, and is no schema", where=str(path), hint="name another file with -o"
        )
    write_whole(path, json.dumps(content, indent=2) + "\n")
    say(f"wrote {path}")
    return 0


def _is_schema(path: Path, title: str) -> bool:
    """Whether a file holds a schema that this command, or an earlier version of it, wrote."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("title") == title
