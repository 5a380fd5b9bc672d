"""``xslim board``: what leaves for the board, and what comes back from the board."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xslim.commands.board_dumps import TensorDifference, compare_dumps
from xslim.commands.board_page import dumps_page
from xslim.commands.board_profile import Profile, read_profile
from xslim.commands.board_testset import write_test_set
from xslim.commands.text import say, say_json
from xslim.errors import ConfigError
from xslim.files import InputFile, refuse_inputs, require_place, write_whole

SHOWN = 20


def run(
    action: str,
    path: str,
    data: str | None,
    model: str | None,
    output: str | None,
    samples: int,
    threshold: float,
    as_json: bool,
) -> int:
    """Run one action; `compare` returns 1 if a tensor is below the threshold."""
    if samples < 1:
        raise ConfigError("must be at least 1", where="--samples")
    if action == "export":
        folder = write_test_set(Path(path), Path(data) if data else None, samples, Path(output or "board"))
        say(f"wrote {folder}: copy it to the board, and follow its README.md")
        return 0
    if action == "profile":
        profile = read_profile(Path(path))
        if as_json:
            say_json(profile.as_json())
        else:
            say(*_profile_lines(profile))
        return 0
    if model is None:
        raise ConfigError("names no model", where="--model", hint="give the model that ran on the board")
    page = None if output is None else Path(output)
    if page is not None:
        refuse_inputs([page], [InputFile(Path(model), "the model")])
        require_place(page)
    rows = compare_dumps(Path(path), Path(model), Path(data) if data else None)
    if page is not None:
        write_whole(page, dumps_page(rows, threshold, Path(model).name))
    if as_json:
        say_json([row.as_json() for row in rows])
    else:
        say(*_dump_lines(rows, threshold))
        if page is not None:
            say(f"wrote {page}")
    return int(any(row.sqnr_db < threshold for row in rows))


def _dump_lines(rows: list[TensorDifference], threshold: float) -> Iterator[str]:
    first = next((row for row in rows if row.sqnr_db < threshold), None)
    yield f"{len(rows)} tensors, in the order of the graph"
    width = max(len(row.tensor) for row in rows)
    for row in rows:
        mark = "  <- board and PC part here" if row is first else ""
        yield f"  {row.tensor:{width}}  {row.sqnr_db:7.2f} dB  largest error {row.max_abs_error:.4g}{mark}"
    if first is None:
        yield f"no tensor is below {threshold:g} dB"
    else:
        yield f"the first tensor below {threshold:g} dB is {first.tensor}, written by {first.node}"


def _profile_lines(profile: Profile) -> Iterator[str]:
    yield f"{profile.milliseconds:.2f} ms in {profile.events} events"
    for title, times in (
        ("by operator type", profile.by_type),
        ("by provider", profile.by_provider),
        ("by operator", profile.by_operator),
    ):
        yield title
        for name, milliseconds in list(times.items())[:SHOWN]:
            yield f"  {milliseconds:9.3f} ms  {milliseconds / max(profile.milliseconds, 1e-12):6.1%}  {name}"
    if profile.not_understood:
        yield f"{profile.not_understood} events have no duration or no name and are left out"
