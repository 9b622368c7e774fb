"""The size and depth of nested values, written out: what stands in several places counts in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .limits import beyond, limit

Children = Callable[[Any], Sequence[Any]]
_CONTAINERS = (Mapping, list, tuple, set, frozenset)


def check_tree(
    root: Any,
    where: str,
    values: str = "tree_values",
    children: Children | None = None,
    containers: tuple[type, ...] = _CONTAINERS,
) -> None:
    """Check that a nested value stays within the limits ``values`` and ``tree_depth``.

    No recursion, and each container is looked at once, so a value that repeats itself a million times costs as much
    as one that doesn't.

    Args:
        root: lists, tuples and mappings, or nodes of another kind.
        where: the file, for messages.
        values: name of the limit on the number of values.
        children: container → what it holds; by default keys and values of Python's containers.
        containers: the types that hold anything; all else is a single value.

    Raises:
        UserError: when it is larger, deeper, or contains itself.
    """
    inner = children or _children
    most, deepest = limit(values), limit("tree_depth")
    known: dict[int, tuple[int, int]] = {}  # id of a finished container → size, depth
    begun: set[int] = set()
    held: list[Any] = []  # keeps them alive, so that ids stay theirs
    stack: list[tuple[Any, int, list[Any] | None]] = [(root, 1, None)] if isinstance(root, containers) else []
    while stack:
        node, size, nested = stack.pop()
        if nested is None:
            if id(node) in known:
                continue
            if id(node) in begun:
                raise beyond(where, "a value contains itself, so it is nested without end", "tree_depth")
            parts = inner(node)
            size = 1 + len(parts)
            nested = [part for part in parts if isinstance(part, containers)]
            _check(where, size, values, most)
            if len(begun) >= deepest:
                raise beyond(where, f"values are nested more than {deepest} deep", "tree_depth")
            begun.add(id(node))
            held.append(node)
            stack.append((node, size, nested))
            stack.extend((part, 1, None) for part in nested)
            continue
        depth = 0
        for part in nested:
            part_size, part_depth = known[id(part)]
            size, depth = size + part_size - 1, max(depth, part_depth)
        _check(where, size, values, most)
        if depth >= deepest:
            raise beyond(where, f"values are nested more than {deepest} deep", "tree_depth")
        known[id(node)] = size, depth + 1
        begun.discard(id(node))


def _check(where: str, size: int, values: str, most: int) -> None:
    if size > most:
        raise beyond(where, f"it holds {size} values, those that repeat counted each time", values)


def _children(node: Any) -> Sequence[Any]:
    return [*node.keys(), *node.values()] if isinstance(node, Mapping) else list(node)
