"""Calibrate in parallel workers with dask, then quantise from their sketches.

    pip install "xslim[dask]"
    python calibrate_with_dask.py CONFIG [--workers N] [--scheduler ADDRESS]

Sketches merge exactly, so the model has the same bytes as that of ``xslim -c CONFIG``. Without an address the
workers are processes of this machine; with one, they are wherever that scheduler has them, and all of them
must see the same files. Any other scheduler does as well: it only has to run ``xslim collect`` N times.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from distributed import Client, LocalCluster

import xslim


def calibrate(client: Client, config: Path, folder: Path, count: int) -> list[Path]:
    """Collect `count` shards on the client's workers; return their sketch files."""
    files = [folder / f"shard{index}.sketches" for index in range(count)]
    futures = [
        client.submit(xslim.collect, str(config.resolve()), str(file), shard=(index, count))
        for index, file in enumerate(files)
    ]
    client.gather(futures)
    return files


def main() -> None:
    """Run on a local cluster, or on the one that is named."""
    parser = argparse.ArgumentParser(description="Calibrate with dask, then quantise.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scheduler", help="address of a running scheduler")
    options = parser.parse_args()
    cluster = options.scheduler or LocalCluster(
        n_workers=options.workers, threads_per_worker=1, dashboard_address=None
    )
    with TemporaryDirectory() as folder, Client(cluster) as client:
        files = calibrate(client, options.config, Path(folder), options.workers)
        xslim.merge(options.config, files)


if __name__ == "__main__":
    main()
