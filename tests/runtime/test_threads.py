"""One rule for the number of threads: the kernels and onnxruntime's sessions follow the same count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

CODE = """
import json, os, sys
from xslim import kernels
from xslim.errors import ConfigError
from xslim.runtime import thread_count

def counted(count, refusal):
    try: return count()
    except refusal as error: return "refused"

found = []
for value in json.loads(sys.argv[1]):
    if value is None: os.environ.pop("XSLIM_THREADS", None)
    else: os.environ["XSLIM_THREADS"] = value
    found.append([counted(kernels.threads, kernels.ArgumentError), counted(thread_count, ConfigError)])
print(json.dumps(found))
"""

EXPECTED: dict[str, int | str] = {
    "1": 1,
    "3": 3,
    " 2 ": 2,
    "\t4": 4,
    "007": 7,
    "1024": 1024,
    **dict.fromkeys(
        ("", " ", "0", "-1", "+2", "1.0", "2 3", "1025", "9" * 30, "many", "0x2", "\u0663"), "refused"
    ),
}


def counts(values: list[str | None], **options: Any) -> list[list[int | str]]:
    """What the kernels and the sessions make of each value, in a process of its own."""
    command = [sys.executable, "-c", CODE, json.dumps(values)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, **options)
    found: list[list[int | str]] = json.loads(result.stdout)
    return found


def test_kernels_and_sessions_agree_on_every_value() -> None:
    found = dict(zip(EXPECTED, counts(list(EXPECTED)), strict=True))
    assert found == {value: [count, count] for value, count in EXPECTED.items()}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no processor affinity")
def test_both_count_the_processors_that_the_process_may_use() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    for chosen in ({allowed[0]}, set(allowed)):
        ((kernels, sessions),) = counts(
            [None], preexec_fn=lambda chosen=chosen: os.sched_setaffinity(0, chosen)
        )
        assert kernels == sessions
        # A quota of a control group may lower the count further.
        assert 1 <= int(kernels) <= len(chosen)
