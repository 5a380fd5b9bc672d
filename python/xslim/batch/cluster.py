"""Send jobs to the workers of a dask cluster, which see the same files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xslim.batch.manifest import Job
from xslim.batch.processes import Limits, run_all
from xslim.errors import ConfigError


def run_on_cluster(jobs: Sequence[Job], limits: Limits, address: str) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Run jobs on a dask cluster and yield each with its figures, or with an ``error``, as soon as it ends.

    A job whose worker dies is sent to another one, as often as the cluster's ``allowed-failures`` says.

    Raises
    ------
    ConfigError
        dask is not installed, or nobody answers at the address.
    """
    try:
        import distributed
    except ImportError as error:
        raise ConfigError(
            "dask is not installed", where="--dask", hint="pip install 'xslim[dask]'"
        ) from error
    # distributed has no complete type hints.
    dask: Any = distributed
    try:
        client = dask.Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ConfigError(f"no scheduler answers at {address}: {error}", where="--dask") from error
    with client:
        futures = {client.submit(run_one, job, limits, pure=False): job for job in jobs}
        for future in dask.as_completed(futures, loop=client.loop):
            if future.status == "finished":
                yield futures[future], future.result()
            else:
                failure = future.exception()
                yield futures[future], {"error": f"the worker failed: {type(failure).__name__}: {failure}"}


def run_one(job: Job, limits: Limits) -> dict[str, Any]:
    """Run one job in a process of the worker's machine."""
    [(_, found)] = run_all([job], Limits(1, limits.memory_mb, limits.seconds))
    return found
