"""The size and depth of nested values, written out: what stands in several places counts in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .limits import beyond, limit

Children = Callable[[Any], Iterable[Any]]


def check_tree(root: Any, where: str, values: str = "tree_values", children: Children | None = None) -> None:
    """Check that a nested value stays within the limits ``values`` and ``tree_depth``.

    No recursion, and each container is looked at once, so a value that repeats itself a million times costs as much
    as one that doesn't.

    Args:
        root: lists, tuples and mappings, or nodes of another kind.
        where: the file, for messages.
        values: name of the limit on the number of values.
        children: container → what it holds, nothing for a leaf; by default keys and values of Python's containers.

    Raises:
        UserError: when it is larger, deeper, or contains itself.
    """
    inner = children or _children
    known: dict[int, tuple[int, int]] = {}  # id of a finished container → size, depth
    open_: set[int] = set()
    most, deepest = limit(values), limit("tree_depth")
    held: list[Any] = []  # keeps containers alive that `children` may make, so that ids stay theirs
    stack: list[tuple[Any, list[Any] | None]] = [(root, None)]
    while stack:
        node, parts = stack.pop()
        if parts is None:
            if id(node) in known:
                continue
            if id(node) in open_:
                raise beyond(where, "a value contains itself, so it is nested without end", "tree_depth")
            parts = list(inner(node))
            if not parts:
                continue  # a leaf
            if len(open_) >= deepest:
                raise beyond(where, f"values are nested more than {deepest} deep", "tree_depth")
            open_.add(id(node))
            stack.append((node, parts))
            stack.extend((part, None) for part in parts)
            continue
        size, depth = 1, 0
        for part in parts:
            part_size, part_depth = known.get(id(part), (1, 0))
            size, depth = size + part_size, max(depth, part_depth)
        if size > most:
            raise beyond(where, f"it holds {size} values, those that repeat counted each time", values)
        if depth >= deepest:
            raise beyond(where, f"values are nested more than {deepest} deep", "tree_depth")
        known[id(node)] = size, depth + 1
        held.append(node)
        open_.discard(id(node))


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, Mapping):
        return [*node.keys(), *node.values()]
    return node if isinstance(node, list | tuple | set | frozenset) else ()
