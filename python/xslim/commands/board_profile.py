"""Read a profile of the provider: Chrome trace events, which Perfetto shows as well."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xslim.errors import DataError

KINDS = ("op_name", "op_type", "type", "cat")
"""Fields that may hold the type of an operator, the most telling first."""
PROVIDERS = ("provider", "ep", "execution_provider")


@dataclass(frozen=True)
class Profile:
    """The times of a profile, in milliseconds, the longest first.

    Attributes
    ----------
    events : int
        Number of events with a name and a duration.
    milliseconds : float
        Their sum.
    by_operator, by_type, by_provider : dict of str to float
        Sums by name, by operator type and by provider; events that name no provider ran on an unknown one.
    not_understood : int
        Number of events without a name or a duration.
    """

    events: int
    milliseconds: float
    by_operator: dict[str, float]
    by_type: dict[str, float]
    by_provider: dict[str, float]
    not_understood: int

    def as_json(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def read_profile(path: Path) -> Profile:
    """Read a profile.

    Complete events (``"ph": "X"``) have a duration; a begin and an end event (``"B"`` and ``"E"``) of one
    thread give one. Metadata events are left out.

    Raises
    ------
    DataError
        The file cannot be read, or holds no event.
    """
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read the profile: {error}", where=str(path), hint="SPACEMIT_EP_DEBUG_PROFILE names it"
        ) from error
    events = content.get("traceEvents") if isinstance(content, dict) else content
    if not isinstance(events, list):
        raise DataError(
            "holds no list of trace events", where=str(path), hint="SPACEMIT_EP_DEBUG_PROFILE writes one"
        )
    operators: defaultdict[str, float] = defaultdict(float)
    types: defaultdict[str, float] = defaultdict(float)
    providers: defaultdict[str, float] = defaultdict(float)
    opened: dict[tuple[Any, Any, str], float] = {}
    count = lost = 0
    for event in events:
        phase = event.get("ph", "X") if isinstance(event, dict) else ""
        if phase == "M":
            continue
        found = _duration(event, phase, opened) if isinstance(event, dict) else None
        if found is None:
            lost += phase != "B"
            continue
        name, microseconds = found
        count += 1
        operators[name] += microseconds / 1e3
        types[_text(event, KINDS, "unknown")] += microseconds / 1e3
        providers[_text(event, PROVIDERS, "unknown")] += microseconds / 1e3
    if count == 0:
        raise DataError("holds no event with a duration", where=str(path), hint="profile at least one run")
    total = float(sum(operators.values()))
    return Profile(count, total, _sorted(operators), _sorted(types), _sorted(providers), lost + len(opened))


def _duration(
    event: Mapping[str, Any], phase: str, opened: dict[tuple[Any, Any, str], float]
) -> tuple[str, float] | None:
    """Return the name and the microseconds of an event, or None if it has none or only begins."""
    name, start, length = event.get("name"), event.get("ts"), event.get("dur")
    if not isinstance(name, str):
        return None
    key = (event.get("pid"), event.get("tid"), name)
    if phase == "B" and isinstance(start, (int, float)):
        opened[key] = float(start)
        return None
    if phase == "E" and isinstance(start, (int, float)) and key in opened:
        return name, float(start) - opened.pop(key)
    return (name, float(length)) if isinstance(length, (int, float)) else None


def _text(event: Mapping[str, Any], fields: tuple[str, ...], default: str) -> str:
    arguments = event.get("args")
    places = [arguments, event] if isinstance(arguments, dict) else [event]
    for field in fields:
        for place in places:
            if isinstance(place.get(field), str) and place[field]:
                return str(place[field])
    return default


def _sorted(times: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(times.items(), key=lambda item: (-item[1], item[0])))
