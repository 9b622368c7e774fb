"""Pickles of plain values are read as `pickle` reads them; any other is refused, and nothing runs."""

import collections
import datetime
import os
import pickle
import random
import tracemalloc

import numpy as np
import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.files.safe_pickle import load_plain

PLAIN = [
    [("P22_01", 12, 90, "00:00:00.20", "00:00:01.50", 0), ("P22_01", 90000, -1, "é", "", 2**70)],
    [],
    {"a": [1, 2.5, None], 3: (True, False, ())},
    (1,),
    [{}, {"x": {}}],
    list(range(3000)),
    "text",
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", PLAIN, ids=lambda value: str(type(value).__name__))
def test_plain_values_are_read_in_every_protocol(value, protocol):
    data = pickle.dumps(value, protocol)
    read = load_plain(data, "x.pkl")
    assert read == value
    assert repr(read) == repr(pickle.loads(data))  # True is no 1


def test_random_plain_values_are_read():
    rng = random.Random(0)

    def value(depth):
        kind = rng.randrange(7 if depth < 5 else 4)
        if kind < 4:
            return [rng.randrange(-(2**40), 2**40), rng.random(), "xé" * rng.randrange(200), None][kind]
        items = [value(depth + 1) for _ in range(rng.randrange(5))]
        return [items, tuple(items), dict(enumerate(items))][kind - 4]

    for protocol in [0, 1, 2, 3, 4, 5] * 20:
        made = value(0)
        assert load_plain(pickle.dumps(made, protocol), "x.pkl") == made


class Harm:
    def __reduce__(self):
        return os.system, ("exit 3",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("value", "named"),
    [
        ([("P22_01", 1), ("P22_01", Harm())], "system"),
        (collections.OrderedDict(a=1), "collections.OrderedDict"),
        ([print], "print"),
        (datetime.date(2024, 1, 1), "datetime.date"),
        ([np.int64(3)], "numpy"),
        ({1, 2}, None),
        ([b"x"], None),
    ],
    ids=["call", "class", "function", "date", "numpy", "set", "bytes"],
)
def test_a_class_or_function_is_refused_by_name(value, named, protocol, monkeypatch):
    monkeypatch.setattr(os, "system", os.system)
    with pytest.raises(UserError, match=r"x\.pkl, entry \d+ \(byte \d+\)") as caught:
        load_plain(pickle.dumps(value, protocol), "x.pkl")
    assert named is None or named in str(caught.value)


def test_the_entry_is_counted():
    data = pickle.dumps([("a", 1), ("b", 2), ("c", print)], 4)
    with pytest.raises(UserError, match=r"entry 3 .*'builtins.print'"):
        load_plain(data, "x.pkl")


def test_a_persistent_id_is_refused():
    with pytest.raises(UserError, match="PERSID"):
        load_plain(b"Pident\n.", "x.pkl")


def test_every_truncation_is_refused():
    for protocol in (0, 2, 4):
        data = pickle.dumps(PLAIN[0], protocol)
        for end in range(len(data)):
            with pytest.raises(UserError, match=r"x\.pkl"):
                load_plain(data[:end], "x.pkl")


def test_damaged_bytes_give_a_value_or_one_error():
    data = pickle.dumps(PLAIN[0], 4)
    rng = random.Random(1)
    for _ in range(2000):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            load_plain(bytes(damaged), "x.pkl")
        except UserError as error:
            assert "x.pkl" in str(error)  # noqa: PT017 - some damage only changes a number


def test_depth_and_size_are_bounded():
    deep = []
    for _ in range(20):
        deep = [deep]
    with pytest.raises(UserError, match="deep"):
        load_plain(pickle.dumps(deep), "x.pkl")
    with pytest.raises(UserError, match="bytes"):
        load_plain(b"\x80\x04" + bytes(17 * 2**20), "x.pkl")


def test_a_list_in_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(UserError, match="two places"):
        load_plain(pickle.dumps(loop), "x.pkl")


@pytest.mark.parametrize(("before", "after"), [(b"]", b"a."), (b"}", b"K\x01s.")], ids=["item", "key"])
def test_few_bytes_that_stand_for_very_much_are_refused(before, after):
    row = ("a",) * 1000
    for _ in range(2):
        row = (row,) * 1000  # to hash or to print it takes as long as if its 10**9 texts were there
    body = pickle.dumps(row, 3).removeprefix(b"\x80\x03").removesuffix(b".")
    assert len(body) < 10_000
    with pytest.raises(UserError, match=r"x\.pkl, entry \d+: .*a few bytes"):
        load_plain(b"\x80\x03" + before + body + after, "x.pkl")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_number_too_long_to_print_is_refused(protocol):
    data = pickle.dumps([("P22_01", 2**20_000)], 2 if protocol == 0 else protocol)
    data = b"(lp0\nL" + b"9" * 9000 + b"L\na." if protocol == 0 else data
    with pytest.raises(UserError, match="truncated, or not a pickle") as raised:
        load_plain(data, "x.pkl")
    assert "sys." not in str(raised.value)


def test_hashing_takes_no_longer_than_the_limit_on_values():
    row = ("a",) * 1000
    body = pickle.dumps((row,) * 1000, 3).removeprefix(b"\x80\x03").removesuffix(b".")
    kept = b"q\xff"  # each key below is the same million texts, hashed again in a dict of its own
    data = b"\x80\x03(" + body + kept + b"}h\xffK\x01s" * 10_000 + b"l."
    with pytest.raises(UserError, match="a few bytes"):
        load_plain(data, "x.pkl")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            b"\x80\x02]r\xff\xff\xff\x7f.",
            "reference 2147483647 out of range",
        ),  # would make room for all of them
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02" + b"(" * 400_000 + b")" + b"\x85" * 90_000 + b".", "deep"),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff].", "FRAME length"),
        (b"\x80\x02K\x01]K\x02a.", "left over"),
    ],
    ids=["reference", "extension", "nested", "frame", "left_over"],
)
def test_hostile_bytes_are_refused_without_memory(data, said):
    tracemalloc.start()
    with pytest.raises(UserError, match=said):
        load_plain(data, "x.pkl")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**26
