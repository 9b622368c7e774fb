"""Pickles of plain values, read without unpickling.

A pickle is a program: `pickle.load` runs it, and it may call any function that it names.  This reader walks its
instructions (`pickletools.genops`, which only splits the bytes) and carries out those that build lists, tuples,
dicts, texts, numbers, booleans and None.  It knows no instruction that looks up a class, calls anything or loads
a persistent object; a pickle that holds one is refused, whatever else it holds.
"""

from __future__ import annotations

import pickletools
from typing import Any

from ..errors import UserError
from .limits import beyond, limit

MAX_DEPTH = 8
MAX_SIZE = 2**26
"""Values and letters of what is read, written out: a value that stands in many places counts in each."""
MAX_BITS = 1024

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SCALARS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    )
)
_EMPTY: dict[str, type] = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_NAMING = frozenset(("GLOBAL", "STACK_GLOBAL", "INST"))


class _Mark:
    """Where a group of values begins on the stack."""


class _Slot:
    """A value on the stack, with how deep containers are nested in it, and how large it is written out."""

    __slots__ = ("depth", "size", "value")

    def __init__(self, value: Any, depth: int = 0, size: int = 1) -> None:
        self.value = value
        self.depth = depth
        self.size = size


def load_plain(data: bytes, where: str) -> Any:
    """Return the value that the pickle ``data`` holds: lists, tuples, dicts, str, int, float, bool, None.

    Args:
        data: the pickle, of any protocol.
        where: its file, for messages.

    Raises:
        UserError: when it names a class or function or needs one (the message gives its name, the byte and the
            entry), is truncated or no pickle, has more bytes or instructions than the limits, is written
            out larger than `MAX_SIZE` or nested more than 8 deep, or holds a number of more than 1024 bits.
    """
    if len(data) > limit("pickle_bytes"):
        raise beyond(where, f"it has {len(data)} bytes", "pickle_bytes")
    most = limit("pickle_steps")
    reader = _Reader(where)
    try:
        for number, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if number >= most:
                raise beyond(where, f"it has more than {most} instructions", "pickle_steps")
            reader.step(opcode.name, argument, position or 0)
    except (ValueError, IndexError, TypeError, KeyError) as error:
        if isinstance(error, UserError):
            raise
        fault = str(error).partition(";")[0] or type(error).__name__
        raise UserError(
            f"{where}, {reader.entry}: truncated, or not a pickle ({fault}). Get the file again."
        ) from error
    return reader.result


class _Reader:
    def __init__(self, where: str) -> None:
        self.where = where
        self.result: Any = None
        self._stack: list[_Slot | _Mark] = []
        self._memo: dict[int, _Slot] = {}
        self._tuples = 0
        self._texts: list[str] = []

    @property
    def entry(self) -> str:
        """The entry being read: a list of tuples has one tuple an entry."""
        return f"entry {self._tuples + 1}"

    def step(self, name: str, argument: Any, position: int) -> None:
        """Carry out one instruction."""
        if name in _SCALARS:
            if isinstance(argument, str):
                self._texts = [*self._texts[-1:], argument]
                self._push(argument, size=1 + len(argument))
            elif isinstance(argument, int) and argument.bit_length() > MAX_BITS:
                raise ValueError(f"a number of {argument.bit_length()} bits")
            else:
                self._push(argument)
        elif name in _CONSTANTS:
            self._push(_CONSTANTS[name])
        elif name in _EMPTY:
            self._push(_EMPTY[name](), 1)
        elif name == "MARK":
            self._stack.append(_Mark())
        elif name in ("TUPLE", "LIST", "DICT"):
            self._build(name, self._pop_to_mark())
        elif name in _TUPLES:
            self._build("TUPLE", [self._pop() for _ in range(_TUPLES[name])][::-1])
        elif name in ("APPEND", "APPENDS"):
            items = [self._pop()] if name == "APPEND" else self._pop_to_mark()
            self._extend(list, items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [self._pop(), self._pop()][::-1] if name == "SETITEM" else self._pop_to_mark()
            self._extend(dict, items)
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._top()
        elif name in _PUTS:
            self._memo[int(argument)] = self._top()
        elif name in _GETS:
            self._get(int(argument))
        elif name == "STOP":
            self.result = self._pop().value
            if self._stack:
                raise ValueError("values left over at its end")
        elif name not in ("PROTO", "FRAME"):
            self._refuse(name, argument, position)

    def _refuse(self, name: str, argument: Any, position: int) -> None:
        if name in _NAMING:
            named = str(argument).replace(" ", ".") if argument else ".".join(self._texts[-2:])
            what = f"it names '{named}', a class or function"
        else:
            what = f"it holds the instruction {name}, which plain lists don't need"
        raise UserError(
            f"{self.where}, {self.entry} (byte {position}): {what}. Such a pickle could run any code, so it is not "
            "read. The authors' lists hold tuples of text and numbers alone; get them anew."
        )

    def _push(self, value: Any, depth: int = 0, size: int = 1) -> None:
        self._stack.append(_Slot(value, depth, size))

    def _get(self, number: int) -> None:
        slot = self._memo[number]
        if isinstance(slot.value, list | dict):
            raise ValueError("a list that stands in two places")  # it might contain itself
        if isinstance(slot.value, str):
            self._texts = [*self._texts[-1:], slot.value]
        self._stack.append(slot)

    def _top(self) -> _Slot:
        if isinstance(self._stack[-1], _Mark):
            raise ValueError("a mark where a value is needed")
        return self._stack[-1]

    def _pop(self) -> _Slot:
        top = self._top()
        self._stack.pop()
        return top

    def _pop_to_mark(self) -> list[_Slot]:
        items: list[_Slot] = []
        while not isinstance(self._stack[-1], _Mark):
            items.append(self._pop())
        self._stack.pop()
        return items[::-1]

    def _build(self, kind: str, items: list[_Slot]) -> None:
        depth, size = self._depth_over(items), self._size_with(1, items)  # before a dict hashes its keys
        values = [item.value for item in items]
        self._tuples += kind == "TUPLE"
        built: Any = values if kind == "LIST" else tuple(values) if kind == "TUPLE" else _pairs(values)
        self._push(built, depth, size)

    def _extend(self, kind: type[list[Any]] | type[dict[Any, Any]], items: list[_Slot]) -> None:
        target = self._top()
        if type(target.value) is not kind:
            raise ValueError(f"items for something that is no {kind.__name__}")
        target.depth = max(target.depth, self._depth_over(items))
        target.size = self._size_with(target.size, items)
        values = [item.value for item in items]
        if isinstance(target.value, list):
            target.value.extend(values)
        else:
            target.value.update(_pairs(values))

    def _depth_over(self, items: list[_Slot]) -> int:
        depth = 1 + max((item.depth for item in items), default=0)
        if depth > MAX_DEPTH:
            raise UserError(f"{self.where}, {self.entry}: nested more than {MAX_DEPTH} deep; a list isn't.")
        return depth

    def _size_with(self, size: int, items: list[_Slot]) -> int:
        size += sum(item.size for item in items)
        if size > MAX_SIZE:
            raise UserError(
                f"{self.where}, {self.entry}: a few bytes that stand for very much; a list isn't so."
            )
        return size


def _pairs(values: list[Any]) -> dict[Any, Any]:
    return dict(zip(values[::2], values[1::2], strict=True))
