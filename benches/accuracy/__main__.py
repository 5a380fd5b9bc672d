"""Measure what is asked for and missing, then write docs/accuracy.md.

Rows are kept in benches/record/accuracy.jsonl as they are measured, so a run may be interrupted and extended.
``--fresh`` measures our own rows again; other quantisers do not change.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benches.accuracy.measure import DYNAMIC, OUR_DYNAMIC, PEERS, REFERENCE, Interpreters, measure
from benches.accuracy.page import page
from benches.accuracy.record import Key, append, load, save
from benches.accuracy.suite import ALL, LISTS, make_suite
from benches.paths import ROOT, SHARED

RECORD = ROOT / "benches" / "record" / "accuracy.jsonl"
PAGE = ROOT / "docs" / "accuracy.md"
CACHE = Path(os.environ.get("XSLIM_ACCURACY", Path.home() / ".cache" / "xslim-accuracy"))

STATIC, SINGLE = ("xslim", *PEERS, REFERENCE), (OUR_DYNAMIC, DYNAMIC)


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description="Measure accuracy on the models and tasks of ../shared.")
    parser.add_argument("--tasks", nargs="*", default=list(ALL), choices=ALL)
    parser.add_argument("--methods", nargs="*", default=["xslim"], choices=(*STATIC, *SINGLE))
    parser.add_argument("--precisions", nargs="*", type=int, default=[0], help="ours: 0 to 2")
    parser.add_argument("--finetunes", nargs="*", type=int, default=[1], help="ours: 0 to 3")
    parser.add_argument("--lists", type=int, default=LISTS, help="number of calibration lists")
    parser.add_argument("--python", default=sys.executable, help="Python that has XSlim")
    parser.add_argument("--tools", default=sys.executable, help="Python that has onnxruntime and opencv")
    parser.add_argument("--reference", help="Python that has the reference implementation")
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--fresh", action="store_true", help="measure again what is known")
    parser.add_argument("--no-page", action="store_true", help="do not write docs/accuracy.md")
    options = parser.parse_args()
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is missing: it holds the models, the data and the judging programs")
    suite = make_suite(CACHE, options.tools)
    known = load(options.record)
    pythons = Interpreters(options.python, options.tools, options.reference)
    with TemporaryDirectory() as folder:
        for key in wanted(options):
            if options.fresh or key not in known:
                known[key] = measure(key, suite, Path(folder), pythons)
                append(options.record, known[key])
                print(known[key], flush=True)
    if not options.no_page:
        save(options.record, known.values())
        PAGE.write_text(page(known.values()), "utf-8")
        print(f"wrote {PAGE}")


def wanted(options: argparse.Namespace) -> Iterator[Key]:
    """Return the rows that the options name: one for dynamic quantisation and for the slow reference."""
    for number in range(options.lists):
        for task in options.tasks:
            for method in options.methods:
                if method in SINGLE or method == REFERENCE:
                    if number == 0:
                        yield task, method, None, None, number
                elif method != "xslim":
                    yield task, method, None, None, number
                else:
                    for precision in options.precisions:
                        for finetune in options.finetunes:
                            yield task, method, precision, finetune, number


if __name__ == "__main__":
    main()
