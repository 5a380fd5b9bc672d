"""Write THIRD_PARTY_LICENSES: the licence texts of the Rust crates compiled into the extension.

`--check` only compares its list of crates with Cargo.lock's and fails when a crate is missing or superfluous.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "THIRD_PARTY_LICENSES"
TEXTS = re.compile(r"^(licen[cs]e|copying|notice|unlicense)", re.IGNORECASE)
ENTRY = re.compile(r"^== (\S+ \S+) \(.*\)$", re.MULTILINE)


def linked_crates() -> list[dict[str, Any]]:
    """Return the packages of the registry that the extension is built from, on whatever platform."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [identity for identity, package in packages.items() if package["name"] == "xslim-bindings"]
    seen: set[str] = set()
    while waiting:
        identity = waiting.pop()
        if identity not in seen:
            seen.add(identity)
            waiting += [
                dependency["pkg"]
                for dependency in nodes[identity]["deps"]
                if any(kind["kind"] is None for kind in dependency["dep_kinds"])
            ]
    found = [packages[identity] for identity in seen if packages[identity]["source"]]
    return sorted(found, key=lambda package: (package["name"], package["version"]))


def texts(package: dict[str, Any]) -> dict[str, str]:
    """Return the licence files of a crate; where it packs none, its licence and authors are all there is."""
    folder = Path(package["manifest_path"]).parent
    files = sorted(path for path in folder.iterdir() if path.is_file() and TEXTS.match(path.name))
    return {path.name: path.read_text("utf-8").strip() for path in files}


def render(packages: list[dict[str, Any]]) -> str:
    """Return the whole file; a text that several crates share is printed once."""
    numbers: dict[str, int] = {}
    parts = ["The extension module of XSlim contains code of the following Rust crates."]
    for package in packages:
        lines = [f"== {label(package)} ({package['license']})", package["repository"] or ""]
        for name, text in texts(package).items():
            lines.append(f"{name}: text {numbers.setdefault(text, len(numbers) + 1)}")
        if not texts(package):
            lines.append(
                f"no licence file in the crate; authors: {', '.join(package['authors']) or 'unnamed'}"
            )
        parts.append("\n".join(lines))
    parts += [f"---- text {number} ----\n\n{text}" for text, number in numbers.items()]
    return "\n\n".join(parts) + "\n"


def label(package: dict[str, Any]) -> str:
    """Name a crate with its version."""
    return f"{package['name']} {package['version']}"


def main() -> int:
    """Write the file, or check it."""
    packages = linked_crates()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(render(packages), "utf-8")
        return 0
    written = set(ENTRY.findall(TARGET.read_text("utf-8")))
    wrong = sorted(written ^ {label(package) for package in packages})
    if wrong:
        print(f"{TARGET.name} is out of date ({', '.join(wrong)}): run make licenses", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
