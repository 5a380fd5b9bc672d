"""``xslim batch``: quantise the models of a manifest, several at a time, and show one table."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

from xslim.batch.cluster import run_on_cluster
from xslim.batch.manifest import Job, Manifest, fingerprint, read_manifest
from xslim.batch.processes import Limits, run_all
from xslim.batch.table import TEXT, Row, load_rows, markdown, row_of, save_rows
from xslim.commands.text import say, say_json
from xslim.config import load_config
from xslim.errors import ConfigError
from xslim.files import require_writable
from xslim.pipeline.protect import input_files
from xslim.runtime import thread_count

logger = logging.getLogger(__name__)


def run(
    manifest: str,
    output: str | None,
    jobs: int | None,
    memory: float | None,
    time_limit: float | None,
    fresh: bool,
    dask: str | None,
    as_json: bool,
) -> int:
    """Run the jobs of a manifest; return 1 if one of them failed."""
    for name, value in {"--jobs": jobs, "--memory": memory, "--time-limit": time_limit}.items():
        if value is not None and not value > 0:
            raise ConfigError(f"must be a positive number, got {value:g}", where=name)
    found = read_manifest(Path(manifest), None if output is None else Path(output))
    limits = Limits(
        jobs=jobs or max(1, thread_count() // 2),
        memory_mb=None if memory is None else int(memory * 1024),
        seconds=None if time_limit is None else 60.0 * time_limit,
    )
    rows = run_batch(found, limits, fresh=fresh, address=dask)
    if as_json:
        say_json({"jobs": [asdict(row) for row in rows]})
    else:
        say(*markdown(rows))
        say(f"wrote {found.folder / TEXT}, and beside it batch.json and batch.html")
    return int(any(row.error for row in rows))


def run_batch(
    manifest: Manifest, limits: Limits, *, fresh: bool = False, address: str | None = None
) -> list[Row]:
    """Run the jobs that have to run, and write the table after each.

    Parameters
    ----------
    manifest : Manifest
        The jobs.
    limits : Limits
        The limits of each of them.
    fresh : bool
        Whether jobs run although nothing has changed.
    address : str, optional
        The scheduler of a dask cluster whose workers run the jobs.

    Returns
    -------
    list of Row
        One row for every job, in the order of the manifest.

    Raises
    ------
    OutputError
        The folder of the outputs cannot be written.
    """
    require_writable(manifest.folder)
    manifest.folder.mkdir(parents=True, exist_ok=True)
    known = load_rows(manifest.folder)
    keys = {job.name: _key(job) for job in manifest.jobs}
    done = {
        job.name: known[job.name]
        for job in manifest.jobs
        if not fresh and job.name in known and known[job.name].still_holds(job, keys[job.name])
    }
    left = [job for job in manifest.jobs if job.name not in done]
    if done:
        logger.info("%d of %d jobs are done already", len(done), len(manifest.jobs))
    results = run_on_cluster(left, limits, address) if address else run_all(left, limits)
    for job, figures in results:
        done[job.name] = row_of(job, keys[job.name], figures)
        logger.info("%s: %s", job.name, done[job.name].error or f"done, {done[job.name].cells()[3]}")
        save_rows(manifest.folder, _in_order(manifest, done))
    rows = _in_order(manifest, done)
    save_rows(manifest.folder, rows)
    return rows


def _in_order(manifest: Manifest, done: dict[str, Row]) -> list[Row]:
    return [done[job.name] for job in manifest.jobs if job.name in done]


def _key(job: Job) -> str:
    return fingerprint(job, [file.path for file in input_files(load_config(job.config), job.model)])
