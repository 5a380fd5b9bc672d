"""Sketches do not depend on batches, shards, threads, the memory budget or interruptions of the run."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from tests import models
from xslim.calibration.budget import group_tensors, output_bytes
from xslim.calibration.data import CalibrationData
from xslim.calibration.fingerprint import calibration_key
from xslim.calibration.merge import merge_shards
from xslim.calibration.observe import Settings, observe
from xslim.calibration.runner import stream
from xslim.calibration.store import MAGIC, load_sketches, save_sketches
from xslim.config import load_config
from xslim.errors import DataError, ModelError
from xslim.graph.inputs import input_specs
from xslim.graph.io import load_model
from xslim.kernels import Sketch
from xslim.passes import prepare
from xslim.runtime import Feeds, Session

SAMPLES = 7


class Case:
    """A small network with a symbolic batch, its samples and the tensors to observe."""

    def __init__(self, folder: Path, order: Sequence[int] = range(SAMPLES)) -> None:
        self.listing = models.write_samples(folder / "data", (1, 3, 8, 8), SAMPLES)
        lines = self.listing.read_text("utf-8").splitlines()
        self.listing.write_text("\n".join(lines[index] for index in order) + "\n", "utf-8")
        self.model = prepare(load_model(models.conv_net("batch")))
        self.tensors = [str(node.outputs[0].name) for node in self.model.graph]

    @property
    def data(self) -> CalibrationData:
        entry = {"file_type": "npy", "data_list_path": str(self.listing)}
        config = load_config({"calibration_parameters": {"input_parameters": [entry]}})
        return CalibrationData(input_specs(self.model), config.calibration_parameters, None)

    def observe(self, settings: Settings | None = None, **options: Any) -> dict[str, Sketch]:
        return observe(self.model, self.tensors, self.data, settings or Settings(**options)).sketches


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_sketch_holds_what_the_float_model_produces(case: Case) -> None:
    sketches = case.observe()
    name = case.tensors[-1]
    session = Session(models_bytes(case.model), threads=1)
    values = np.concatenate([session.run(feeds)[0].ravel() for feeds in case.data.batches()])
    assert sketches[name].count == values.size
    assert (sketches[name].min, sketches[name].max) == (values.min(), values.max())


def models_bytes(model: ir.Model) -> bytes:
    data: bytes = ir.to_proto(model).SerializeToString()
    return data


@pytest.mark.parametrize("batch_size", [1, 2, 7, 8])
@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_batches_and_threads_change_nothing(
    case: Case, monkeypatch: pytest.MonkeyPatch, batch_size: int, threads: str
) -> None:
    expected = case.observe()
    monkeypatch.setenv("XSLIM_THREADS", threads)
    assert case.observe(batch_size=batch_size) == expected


def test_the_order_of_the_samples_changes_nothing(tmp_path: Path) -> None:
    straight, shuffled = Case(tmp_path / "a"), Case(tmp_path / "b", order=[3, 0, 6, 2, 5, 1, 4])
    assert straight.observe() == shuffled.observe()


@pytest.mark.parametrize("count", [1, 2, 4, SAMPLES])
def test_shards_merge_to_the_undivided_run(case: Case, tmp_path: Path, count: int) -> None:
    expected = case.observe()
    files = [tmp_path / f"shard{index}" for index in range(count)]
    for index, file in enumerate(files):
        case.observe(store=file, shard=(index, count))
    key = calibration_key(case.model, case.tensors, case.data)
    assert merge_shards(files[::-1], key) == expected


def test_incomplete_sets_of_shards_are_refused(case: Case, tmp_path: Path) -> None:
    files = [tmp_path / f"shard{index}" for index in range(3)]
    for index, file in enumerate(files):
        case.observe(store=file, shard=(index, 3))
    key = calibration_key(case.model, case.tensors, case.data)
    with pytest.raises(DataError, match="missing 2/3"):
        merge_shards([files[0], files[2]], key)
    with pytest.raises(DataError, match="given twice"):
        merge_shards([files[0], files[0], files[1]], key)
    with pytest.raises(DataError, match="another model or other samples"):
        merge_shards(files, "0" * 64)
    with pytest.raises(DataError, match="no such sketch file"):
        merge_shards([tmp_path / "absent"], key)


def test_a_shard_without_samples_is_refused(case: Case) -> None:
    with pytest.raises(DataError, match="shard 8 of 8 holds no sample"):
        case.observe(shard=(7, 8))


def test_a_second_run_does_not_run_the_model(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "sketches"
    first = case.observe(store=store)
    monkeypatch.setattr(Session, "run", refuse_to_run)
    with caplog.at_level(logging.INFO):
        assert case.observe(store=store) == first
    assert "sketches of an earlier run fit" in caplog.text


def refuse_to_run(*_: object) -> list[NDArray[np.generic]]:
    raise AssertionError("the model runs")


def test_other_samples_or_another_model_are_seen_anew(case: Case, tmp_path: Path) -> None:
    key = calibration_key(case.model, case.tensors, case.data)
    moved = Case(tmp_path / "elsewhere")
    assert calibration_key(moved.model, moved.tensors, moved.data) == key
    np.save(moved.listing.parent / "x0.npy", np.ones((1, 3, 8, 8), np.float32))
    assert calibration_key(moved.model, moved.tensors, moved.data) != key
    assert calibration_key(case.model, case.tensors[1:], case.data) != key
    other = prepare(load_model(models.depthwise_net("batch")))
    assert calibration_key(other, case.tensors, case.data) != key


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty"])
def test_a_damaged_store_is_ignored_and_rebuilt(
    case: Case, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "sketches"
    expected = case.observe(store=store)
    content = store.read_bytes()
    flipped = bytearray(content)
    flipped[-3] ^= 1
    damaged = {"cut": content[:-5], "flipped": bytes(flipped), "foreign": b"not ours", "empty": b""}
    store.write_bytes(damaged[damage])
    assert case.observe(store=store) == expected
    assert "is ignored" in caplog.text
    assert store.read_bytes() == content
    assert content.startswith(MAGIC)


def test_an_interrupted_run_goes_on_where_it_was(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = case.observe()
    store = tmp_path / "sketches"
    given = []

    def interrupted(samples: Iterable[Feeds], total: int, rows: int) -> Iterable[Feeds]:
        given.append(iter(samples))
        assert (total, rows) == (SAMPLES, 1)
        for index, feeds in enumerate(samples):
            if index == 3:
                raise KeyboardInterrupt
            yield feeds

    monkeypatch.setenv("XSLIM_THREADS", "1")
    with pytest.raises(KeyboardInterrupt):
        case.observe(store=store, track=interrupted)
    assert next(given[0], None) is None
    checkpoint = load_sketches(store)
    assert checkpoint is not None
    assert (checkpoint.complete, set(checkpoint.batches.values())) == (False, {3})
    runs = []
    run = Session.run
    monkeypatch.setattr(Session, "run", lambda self, feeds: runs.append(1) or run(self, feeds))
    assert case.observe(store=store) == expected
    assert len(runs) == SAMPLES - 3


def test_a_small_budget_makes_several_passes_with_the_same_result(
    case: Case, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = case.observe()
    monkeypatch.setattr("xslim.calibration.observe.MEGABYTE", 2048)
    with caplog.at_level(logging.INFO):
        sketches = case.observe(memory_mb=2)
    assert "passes" in caplog.text
    assert {name: (s.count, s.min, s.max) for name, s in sketches.items()} == {
        name: (s.count, s.min, s.max) for name, s in expected.items()
    }


@pytest.mark.parametrize("memory_mb", [1, 2, 5])
def test_threads_change_nothing_within_a_budget(
    case: Case, monkeypatch: pytest.MonkeyPatch, memory_mb: int
) -> None:
    monkeypatch.setattr("xslim.calibration.observe.MEGABYTE", 2048)
    seen = []
    exposed = []
    run = Session.__init__

    def note(self: Session, *arguments: Any, **options: Any) -> None:
        exposed.append([value.name for value in arguments[0].graph.outputs])
        run(self, *arguments, **options)

    monkeypatch.setattr(Session, "__init__", note)
    for threads in ("1", "2", "8"):
        monkeypatch.setenv("XSLIM_THREADS", threads)
        exposed.clear()
        seen.append((case.observe(memory_mb=memory_mb), list(exposed)))
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("later", [None, 3])
def test_a_checkpoint_of_another_budget_counts_nothing_twice(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: int | None
) -> None:
    monkeypatch.setattr("xslim.calibration.observe.MEGABYTE", 2048)
    expected = case.observe(memory_mb=later)
    store = tmp_path / "sketches"
    passes = []

    def interrupted(samples: Iterable[Feeds], total: int, rows: int) -> Iterable[Feeds]:
        passes.append(total)
        for index, feeds in enumerate(samples):
            if len(passes) == 2 and index == 3:
                raise KeyboardInterrupt
            yield feeds

    with pytest.raises(KeyboardInterrupt):
        case.observe(store=store, memory_mb=2, track=interrupted)
    checkpoint = load_sketches(store)
    assert checkpoint is not None
    assert len(set(checkpoint.batches.values())) > 1
    assert case.observe(store=store, memory_mb=later) == expected


def test_outputs_are_measured_before_they_exist(case: Case) -> None:
    feeds = next(case.data.batches(batch_size=3))
    sizes = output_bytes(case.model, case.tensors, feeds)
    for value in (node.outputs[0] for node in case.model.graph):
        shape = [3, *(dim for dim in value.shape[1:] if isinstance(dim, int))] if value.shape else []
        assert sizes[str(value.name)] == int(np.prod(shape)) * 4


def test_groups_stay_within_the_budget() -> None:
    sizes = {"a": 4, "b": 4, "c": 9, "d": 1, "e": 2}
    assert group_tensors(sizes, 8) == [["a", "b"], ["c"], ["d", "e"]]
    assert group_tensors({}, 8) == []


class Remembering:
    """A collector that keeps a copy of every batch."""

    def __init__(self, tensor: str) -> None:
        self.tensors = [tensor]
        self.seen: list[NDArray[np.generic]] = []

    def update(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        self.seen.append(arrays[self.tensors[0]].copy())


def test_other_collectors_see_every_sample_beside_known_sketches(case: Case, tmp_path: Path) -> None:
    store = tmp_path / "sketches"
    fresh, again = (Remembering(case.tensors[0]) for _ in range(2))
    for collector in (fresh, again):
        observe(case.model, case.tensors, case.data, Settings(store=store), [collector], [case.tensors[0]])
    assert len(fresh.seen) > 1
    assert np.array_equal(np.concatenate(fresh.seen), np.concatenate(again.seen))


@pytest.mark.parametrize("threads", ["1", "3"])
def test_collectors_see_one_batch_after_another_although_later_runs_end_first(
    case: Case, monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    monkeypatch.setenv("XSLIM_THREADS", threads)
    batches = list(case.data.batches())
    expected = [Session(case.model).run(feeds)[0] for feeds in batches]
    output = str(case.model.graph.outputs[0].name)
    seen = [Remembering(output), Remembering(output)]
    run, begun = Session.run, itertools.count()

    def slow_at_first(session: Session, feeds: Feeds) -> Sequence[NDArray[Any]]:
        if next(begun) % 3 == 0:
            time.sleep(0.05)
        return run(session, feeds)

    def alike(number: int) -> None:
        assert [len(collector.seen) for collector in seen] == [number, number]

    monkeypatch.setattr(Session, "run", slow_at_first)
    assert stream(case.model, seen, iter(batches), after_batch=alike) == len(batches)
    for collector in seen:
        np.testing.assert_allclose(collector.seen, expected, rtol=1e-5)


class Failing:
    """A collector that fails at one batch and remembers how many it saw."""

    def __init__(self, tensor: str, at: int) -> None:
        self.tensors = [tensor]
        self.at = at
        self.seen = 0

    def update(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        del arrays
        if self.seen == self.at:
            raise ModelError("broken on purpose")
        self.seen += 1


@pytest.mark.parametrize("threads", ["1", "4"])
def test_the_first_error_ends_the_run(case: Case, monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    monkeypatch.setenv("XSLIM_THREADS", threads)
    collector = Failing(case.tensors[0], at=2)
    batches = case.data.batches()
    with pytest.raises(ModelError, match="broken on purpose"):
        stream(case.model, [collector], batches)
    assert collector.seen == 2
    with pytest.raises(StopIteration):
        next(batches)


def test_a_sketch_file_survives_the_round_trip(case: Case, tmp_path: Path) -> None:
    stored = observe(case.model, case.tensors, case.data, Settings(store=tmp_path / "a"))
    save_sketches(tmp_path / "b", replace(stored))
    assert load_sketches(tmp_path / "b") == stored
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
