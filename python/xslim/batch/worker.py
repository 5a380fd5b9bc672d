"""Run one job in a process of its own: ``python -m xslim.batch.worker JOB.json``."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from xslim.errors import XSlimError
from xslim.graph.cost import model_cost
from xslim.pipeline.result import Finished
from xslim.pipeline.run import run
from xslim.targets import load_target
from xslim.targets.subgraphs import subgraphs_of


def execute(job: dict[str, Any]) -> dict[str, Any]:
    """Quantise the model of a job and return its figures.

    Raises
    ------
    XSlimError
        Bad input, or a defect of XSlim.
    """
    started = time.monotonic()
    model, output = Path(job["model"]), Path(job["output"])
    finished, path = run(job["config"], model, output)
    rows = finished.comparison
    agreements = [row.top1_agreement for row in rows if row.top1_agreement is not None]
    target = load_target(job["target"])
    return {
        "sqnr_db": min((min(row.sqnr_db, 200.0) for row in rows), default=None),
        "on_random_input": finished.subject is None,
        "top1_agreement": min(agreements, default=None),
        "int8_share": _int8_share(finished),
        "subgraphs": subgraphs_of(finished.model.graph, target),
        "bytes_before": model.stat().st_size,
        "bytes_after": path.stat().st_size,
        "seconds": time.monotonic() - started,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _int8_share(finished: Finished) -> float | None:
    """Return the share of the multiply-accumulates that are int8; None without calibration."""
    if finished.subject is None:
        return None
    cost = model_cost(finished.subject.reference)
    int8 = finished.subject.plan.int8_operators
    return sum(item.macs for item in cost.operators if item.name in int8) / max(1, cost.macs)


def main(path: str) -> int:
    """Run the job of a file within its limit of memory; write the figures or the error beside the file."""
    # A shell starts background jobs with SIGINT ignored, but a batch stops its jobs by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = Path(path)
    job = json.loads(file.read_text("utf-8"))
    _limit(job["memory_mb"])
    try:
        found = execute(job)
    except XSlimError as error:
        found = {"error": str(error)}
    except MemoryError:
        found = {"error": f"more than {job['memory_mb']} MB of memory are needed"}
    # A defect of XSlim ends one job and not the others.
    except Exception as error:  # noqa: BLE001
        found = {"error": f"internal error: {type(error).__name__}: {error}"}
    file.with_suffix(".result").write_text(json.dumps(found), "utf-8")
    return int("error" in found)


def _limit(memory_mb: int | None) -> None:
    if memory_mb is None or sys.platform == "win32":
        return
    import resource

    limit = memory_mb << 20
    # RLIMIT_DATA does not count mapped files, such as weights, whose memory the system can take back.
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
