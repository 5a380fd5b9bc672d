"""Mutations of bytes, as damaged disks, faulty exporters and attackers cause them."""

from __future__ import annotations

import random
from collections.abc import Callable

NUMBERS = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\x7f",
    b"\xff" * 8,
    b"\x00" * 8,
    b"-1",
    b"1e999",
    b"NaN",
)
"""Smallest and greatest numbers, as bytes and as text."""

Mutation = Callable[[random.Random, bytes], bytes]


def mutated(seed: int, data: bytes) -> bytes:
    """Return the bytes after one to four changes that follow from the seed."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 4)):
        data = rng.choice(MUTATIONS)(rng, data)
    return data


def _flip(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + bytes(byte ^ (1 << rng.randrange(8)) for byte in data[at : at + 1]) + data[at + 1 :]


def _cut(rng: random.Random, data: bytes) -> bytes:
    first, last = _span(rng, data)
    return data[:first] + data[last:]


def _end_early(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    first, last = _span(rng, data)
    return data[:last] + data[first:last] + data[last:]


def _move(rng: random.Random, data: bytes) -> bytes:
    first, last = _span(rng, data)
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[first:last] + data[at + last - first :]


def _number(rng: random.Random, data: bytes) -> bytes:
    number, at = rng.choice(NUMBERS), rng.randrange(len(data) + 1)
    return data[:at] + number + data[at + len(number) :]


def _span(rng: random.Random, data: bytes) -> tuple[int, int]:
    first = rng.randrange(len(data) + 1)
    return first, min(len(data), first + rng.choice((1, 2, 8, 64)))


MUTATIONS: tuple[Mutation, ...] = (_flip, _flip, _cut, _end_early, _repeat, _move, _number)
