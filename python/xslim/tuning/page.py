"""The report of a search: the trade-off as a curve, the blocks and the trials as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING

from xslim.texts import ENGLISH, Catalogue, catalogue
from xslim.tuning.search import Tuned

if TYPE_CHECKING:
    from jinja2 import Template

WIDTH, HEIGHT, MARGIN = 720, 320, 48
NAMES_SHOWN = 3


@dataclass(frozen=True)
class BlockRow:
    """One block of the path: what it brings, what it costs, and the decision."""

    names: str
    gain_db: float
    price: float
    decision: str


def blocks(tuned: Tuned) -> list[BlockRow]:
    """Return the blocks of the path in the order in which they would become float."""
    chosen = {name for block in tuned.stage.blocks for name in block} if tuned.stage else set()
    rows = []
    for before, after in pairwise(stage for stage in tuned.path if not stage.is_between):
        block = after.blocks[-1]
        more = f" and {len(block) - NAMES_SHOWN} more" if len(block) > NAMES_SHOWN else ""
        rows.append(
            BlockRow(
                ", ".join(block[:NAMES_SHOWN]) + more,
                after.predicted_db - before.predicted_db,
                after.float_share - before.float_share,
                _decision(block, chosen),
            )
        )
    return rows


def _decision(block: Sequence[str], chosen: set[str]) -> str:
    freed = sum(name in chosen for name in block)
    return "float" if freed == len(block) else f"{freed} of {len(block)} float" if freed else "int8"


def sentences(tuned: Tuned) -> Iterator[str]:
    """Yield in plain words what was found and what to do."""
    goal, best = tuned.goal, tuned.best
    value = goal.words(goal.value(best))
    share = f"{best.int8_share:.1%} of the multiply-accumulates are int8"
    if goal.least is None:
        yield f"Recommended: {best.settings.words}; {value}, {share}."
    elif tuned.met and len(tuned.trials) == 1:
        yield f"The configuration has {value} already, at least {goal.words(goal.least)} was wanted; {share}."
    elif tuned.met:
        yield f"{best.settings.words}: {value}, at least {goal.words(goal.least)} was wanted; {share}."
    else:
        yield f"The best trial has {value}, but {goal.words(goal.least)} was wanted; {share}."
        yield _what_would_be_needed(tuned)
    if tuned.timed_out:
        yield "The time limit ended the search; the same command goes on from here."


def _what_would_be_needed(tuned: Tuned) -> str:
    least = tuned.goal.least_db
    if tuned.timed_out:
        return "A longer --time-limit may find a better one."
    if len(tuned.path) < 2:
        return "No tensor can become float by which the outputs gain; see the findings of the report."
    highest = tuned.path[-1].predicted_db + tuned.offset_db
    if least is not None and highest < least:
        return (
            f"Even with {tuned.path[-1].float_share:.0%} of the multiply-accumulates float, about "
            f"{highest:.1f} dB are expected: more samples, precision_level 1 or 2, or --dynq would be needed."
        )
    return "More samples, finetune_level 3 or a lower goal would be needed."


def to_markdown(tuned: Tuned, name: str, language: str = ENGLISH) -> str:
    """Return the report as Markdown."""
    say = catalogue(language)
    lines = [f"# {say('Tuning of {name}', name=name)}", "", *map(say.sentence, sentences(tuned)), ""]
    lines += [f"## {say('Trials')}", ""]
    lines += _heading(say, "settings", "result", "worst SQNR", "int8 share", "subgraphs", "size", "time")
    for trial in tuned.trials:
        mark = f" **{say('chosen')}**" if trial == tuned.best else ""
        lines.append(
            f"| {say.sentence(trial.settings.words)}{mark} | "
            f"{say.sentence(tuned.goal.words(tuned.goal.value(trial)))} | "
            f"{trial.worst_db:.2f} dB | {trial.int8_share:.1%} | {trial.subgraphs} | "
            f"{trial.bytes / 1e6:.2f} MB | {trial.seconds:.1f} s |"
        )
    rows = blocks(tuned)
    if rows:
        lines += ["", f"## {say('Blocks, in the order in which they would become float')}", ""]
        lines += _heading(say, "tensors", "predicted gain", "price", "decision")
        for row in rows:
            names = row.names.replace("|", "\\|")
            decision = say.sentence(row.decision)
            lines.append(f"| {say.sentence(names)} | {row.gain_db:.2f} dB | {row.price:.2%} | {decision} |")
    return "\n".join(lines) + "\n"


def _heading(say: Catalogue, *columns: str) -> list[str]:
    return [f"| {' | '.join(map(say, columns))} |", "|---" * len(columns) + "|"]


@dataclass(frozen=True)
class _Curve:
    """The trade-off in the coordinates of a picture."""

    points: str
    verified: list[tuple[float, float, str, bool]]
    low: float
    high: float
    share: float


def to_html(tuned: Tuned, name: str, language: str = ENGLISH) -> str:
    """Return the report as a self-contained HTML page."""
    return _template().render(
        name=name,
        language=language,
        _=catalogue(language),
        tuned=tuned,
        sentences=list(sentences(tuned)),
        blocks=blocks(tuned),
        curve=_curve(tuned),
        width=WIDTH,
        height=HEIGHT,
        margin=MARGIN,
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    text = resources.files(__package__ or "xslim.tuning").joinpath("tune.html.j2").read_text("utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text)


def _curve(tuned: Tuned) -> _Curve | None:
    if not tuned.path:
        return None
    start = tuned.trials[0].int8_share
    stages = [(stage.float_share, stage.predicted_db + tuned.offset_db) for stage in tuned.path]
    tried = [
        (max(0.0, start - trial.int8_share), trial.worst_db, trial.settings.words, trial == tuned.best)
        for trial in tuned.trials
    ]
    heights = [*(db for _, db in stages), *(db for _, db, _, _ in tried)]
    low, high = min(heights), max(max(heights), min(heights) + 1.0)
    share = max(*(x for x, _ in stages), *(x for x, _, _, _ in tried), 0.001)

    def place(x: float, db: float) -> tuple[float, float]:
        across = MARGIN + (WIDTH - 2 * MARGIN) * x / share
        return round(across, 1), round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (db - low) / (high - low), 1)

    points = " ".join(f"{x},{y}" for x, y in (place(*stage) for stage in stages))
    verified = [(*place(x, db), words, chosen) for x, db, words, chosen in tried]
    return _Curve(points, verified, low, high, share)
