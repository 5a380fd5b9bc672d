"""``make bench`` tells what became slower than the kept table."""

from __future__ import annotations

from benches.run import comparison, rows_of

HEAD = "| group | benchmark | median ms | quartile range ms | GB/s |\n|---|---|---:|---:|---:|\n"


def table(machine: str, **medians: float) -> str:
    rows = [f"| group | {name} | {median:.3f} | 0.010 |  |" for name, median in medians.items()]
    return f"{machine}\n\n{HEAD}" + "\n".join(rows) + "\n"


def test_a_table_is_read_back() -> None:
    assert rows_of(table("here", a=1.5, b=20)) == {"a": (1.5, 0.01), "b": (20.0, 0.01)}


def test_only_what_is_slower_beyond_the_spread_is_named() -> None:
    found = comparison(table("here", a=1.2, b=1.0, c=0.06, new=9), table("here", a=1.0, b=1.0, c=0.055))
    assert found.splitlines() == [
        "slower than the record by more than 5 %: 1 of 3 benchmarks",
        "a: 1.000 -> 1.200 ms, 1.20 times",
    ]


def test_another_machine_is_compared_as_a_whole() -> None:
    found = comparison(table("there", a=2, b=2, c=2.4), table("here", a=1, b=1, c=1))
    assert "another machine (as a whole 2.00 times)" in found
    assert found.splitlines()[1:] == ["c: 1.000 -> 2.400 ms, 1.20 times"]


def test_an_empty_record_is_said() -> None:
    assert comparison(table("here", a=1), table("here")) == "no benchmark is in the record"


def test_what_takes_no_time_in_the_record_is_not_compared() -> None:
    found = comparison(table("here", a=0.002, b=1.0), table("here", a=0.0, b=1.0))
    assert found.splitlines() == ["slower than the record by more than 5 %: 0 of 1 benchmarks"]
