"""Seeded changes of a file's bytes: flips, cuts, copies, numbers at the edge, text that is legal and odd."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

NUMBERS = (
    b"0",
    b"-1",
    b"1e999",
    b"9" * 30,
    b"9" * 5000,
    b"0.5",
    b"NaN",
    b"18446744073709551616",
    b"true",
    b"null",
)
WORDS = (
    *(
        b'""',
        b"[]",
        b"{}",
        b'"\\ud800"',
        b"\xff\xfe",
        b"\x00",
        b"../../x",
        b"/etc/passwd",
        b"~",
        b"\xef\xbb\xbf",
    ),
    *(
        b"!!python/object/apply:os.system [x]",
        b"&a [*a]",
        b"*a",
        b"<<: *a",
        b"\r\n",
        b"\n",
        b",",
        b'"',
        b"#",
        b": ",
    ),
    *(b"[" * 200, b"{'a':" * 100, b"- " * 200, b"a." * 300, b"x" * 10000, "\u202e".encode(), b"\x1b[2J"),
)


def _place(rng: random.Random, data: bytes) -> int:
    # headers break more than bodies do
    return rng.randrange(min(len(data), 256)) if rng.random() < 0.4 else rng.randrange(len(data))


def flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        changed[_place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def put_bytes(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    size = rng.choice((1, 2, 4, 8))
    value = rng.choice((0, 1, 0x7F, 0xFF, 0x80, rng.randrange(256)))
    return data[:at] + bytes([value]) * size + data[at + size :]


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: _place(rng, data)]


def drop(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + data[at + rng.choice((1, 2, 16, 200)) :]


def repeat(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    part = data[at : at + rng.choice((1, 8, 64, 512))]
    return data[:at] + part * rng.choice((2, 3, 50)) + data[at:]


def swap(rng: random.Random, data: bytes) -> bytes:
    a, b = sorted((_place(rng, data), _place(rng, data)))
    size = rng.choice((4, 16, 64))
    return data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]


def join(rng: random.Random, data: bytes) -> bytes:
    return data + data[_place(rng, data) :]


def insert(rng: random.Random, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + rng.choice(WORDS) + data[at:]


def change_number(rng: random.Random, data: bytes) -> bytes:
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?", data[:200_000]))
    if not found:
        return insert(rng, data)
    place = rng.choice(found)
    return data[: place.start()] + rng.choice(NUMBERS) + data[place.end() :]


def change_word(rng: random.Random, data: bytes) -> bytes:
    found = list(re.finditer(rb'"[^"\n]{0,60}"|[A-Za-z_]{2,40}', data[:200_000]))
    if not found:
        return insert(rng, data)
    place = rng.choice(found)
    other = rng.choice((rng.choice(WORDS), rng.choice(NUMBERS), rng.choice(found)[0]))
    return data[: place.start()] + other + data[place.end() :]


def change_line(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[other])
    else:
        lines[at] = b"  " * rng.randrange(4) + lines[at].strip()
    return b"\n".join(lines)


BINARY: tuple[Callable[[random.Random, bytes], bytes], ...] = (flip, put_bytes, cut, drop, repeat, swap, join)
TEXT = (*BINARY, insert, change_number, change_number, change_word, change_word, change_line, change_line)


def mutated(rng: random.Random, data: bytes, text: bool) -> bytes:
    """Return ``data`` after one to three changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if data:
            data = rng.choice(TEXT if text else BINARY)(rng, data)
    return data
