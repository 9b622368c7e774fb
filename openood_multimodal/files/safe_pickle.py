"""Pickles of plain values: lists, tuples, dicts, text, numbers, booleans and None.

A pickle is a program: it may call any function that it names.  Two barriers, each sufficient: the instructions are
checked before any is carried out (`pickletools.genops` only splits the bytes), and must be those that build plain
values; and the unpickler that carries them out looks up no class, function or persistent object.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any, NamedTuple, NoReturn

from ..errors import UserError
from .limits import beyond, limit

MAX_DEPTH = 8
MAX_EXPANSION = 2**26
"""Values and characters that references to earlier values may add, each counted as often as it is used."""
MAX_BITS = 1024

_INSTRUCTIONS = {
    "scalar": "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE "
    "SHORT_BINUNICODE BINUNICODE BINUNICODE8 EMPTY_TUPLE",
    "tuple": "TUPLE TUPLE1 TUPLE2 TUPLE3",
    "growing": "EMPTY_LIST EMPTY_DICT LIST DICT",
    "adding": "APPEND APPENDS SETITEM SETITEMS",
    "put": "PUT BINPUT LONG_BINPUT MEMOIZE",
    "get": "GET BINGET LONG_BINGET",
    "mark": "MARK",
    "end": "STOP",
    "framing": "PROTO FRAME",
    "name": "GLOBAL STACK_GLOBAL INST",
}
_KIND = {name: kind for kind, names in _INSTRUCTIONS.items() for name in names.split()}
_DAMAGED = (
    *(pickle.UnpicklingError, ValueError, LookupError, TypeError, AttributeError),
    *(EOFError, ArithmeticError, MemoryError),
)


class _Named(pickle.UnpicklingError):
    """The pickle names a class or function."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise _Named(f"{module_name}.{global_name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("persistent objects are not read")


class _Size(NamedTuple):
    """What is known of a value on the stack: nested levels, values and characters written out, may it still grow."""

    depth: int = 0
    values: int = 1
    grows: bool = False


def load_plain(data: bytes, where: str) -> Any:
    """Return the value that the pickle ``data`` holds: lists, tuples, dicts, str, int, float, bool, None.

    Args:
        data: the pickle, of any protocol.
        where: its file, for messages.

    Raises:
        UserError: when it names a class or function or needs one (the message gives its name, the byte and the
            entry), is truncated or no pickle, has more bytes or instructions than the limits, expands by more than
            `MAX_EXPANSION`, is nested more than 8 deep, or holds a number of more than 1024 bits.
    """
    if len(data) > limit("pickle_bytes"):
        raise beyond(where, f"it has {len(data)} bytes", "pickle_bytes")
    most, scan = limit("pickle_steps"), _Scan()
    position: int | None = 0
    try:
        for number, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if number >= most:
                raise beyond(where, f"it has more than {most} instructions", "pickle_steps")
            if _KIND.get(opcode.name, "name") == "name":
                raise UserError(
                    f"{where}, entry {scan.entry} (byte {position}): {_needs(opcode.name, data)}. Such a pickle could "
                    "run any code, so it is not read. The authors' lists hold tuples of text and numbers alone; get "
                    "them again."
                )
            scan.step(opcode, argument, number)
        return _Unpickler(io.BytesIO(data)).load()
    except _DAMAGED as error:
        if isinstance(error, UserError):
            raise
        fault = str(error).partition(";")[0] or type(error).__name__
        raise UserError(
            f"{where}, entry {scan.entry}: truncated, or not a pickle ({fault}). Get the file again."
        ) from error


def _needs(name: str, data: bytes) -> str:
    if name not in _KIND:
        return f"it holds the instruction {name}, which plain lists don't need"
    try:  # all instructions before this one have been checked
        _Unpickler(io.BytesIO(data)).load()
    except _Named as error:
        return f"it names '{error}', a class or function"
    except _DAMAGED:
        pass
    return "it names a class or function"


class _Scan:
    """Follow the sizes of values through the instructions, without making the values.

    Attributes:
        entry: the entry being read, from 1: a list of tuples has one tuple an entry.
    """

    def __init__(self) -> None:
        self.entry = 1
        self._stack: list[_Size | None] = []  # None: a mark, where a group of values begins
        self._memo: dict[int, _Size] = {}
        self._expanded = 0

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any, number: int) -> None:
        """Take the instruction ``number``.  Raises ValueError, LookupError or TypeError for one that can't be."""
        kind = _KIND[opcode.name]
        if kind == "scalar":
            if isinstance(argument, int) and argument.bit_length() > MAX_BITS:
                raise ValueError(f"a number of {argument.bit_length()} bits")
            self._stack.append(_Size(values=1 + len(argument) if isinstance(argument, str) else 1))
        elif kind in ("tuple", "growing", "adding"):
            self._build(opcode, kind)
        elif kind == "put":
            index = len(self._memo) if argument is None else argument
            if not 0 <= index <= number:  # the unpickler makes room for all up to it
                raise ValueError(f"reference {index} out of range")
            self._memo[index] = self._top()
        elif kind == "get":
            self._get(self._memo[argument])
        elif kind == "mark":
            self._stack.append(None)
        elif kind == "end" and (self._top() is None or len(self._stack) > 1):
            raise ValueError("values left over at its end")

    def _top(self) -> _Size:
        if self._stack[-1] is None:
            raise ValueError("a mark where a value is needed")
        return self._stack[-1]

    def _pop(self) -> _Size:
        top = self._top()
        self._stack.pop()
        return top

    def _build(self, opcode: pickletools.OpcodeInfo, kind: str) -> None:
        parts: list[_Size] = []
        for wanted in reversed(opcode.stack_before):
            if wanted is pickletools.stackslice:
                while self._stack[-1] is not None:
                    parts.append(self._pop())
            elif wanted is pickletools.markobject:
                self._stack.pop()
            else:
                parts.append(self._pop())
        whole = parts.pop() if kind == "adding" else _Size(1)
        depth = max(whole.depth, 1 + max((part.depth for part in parts), default=0))
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep, which a list isn't")
        self._stack.append(_Size(depth, whole.values + sum(part.values for part in parts), kind != "tuple"))
        self.entry += kind == "tuple"

    def _get(self, value: _Size) -> None:
        if value.grows:
            raise ValueError("a list that stands in two places")  # it might contain itself
        self._expanded += value.values
        if self._expanded > MAX_EXPANSION:
            raise ValueError("a few bytes that expand to very much, which a list doesn't")
        self._stack.append(value)
