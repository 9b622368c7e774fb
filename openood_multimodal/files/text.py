"""Text files: bytes, JSON, YAML and CSV, each read in one way."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from ..errors import UserError
from .edge import reading
from .limits import beyond, check_size, limit
from .trees import check_tree

_STRING_TAG = "tag:yaml.org,2002:str"
_MERGE_TAG = "tag:yaml.org,2002:merge"
_SEPARATOR = re.compile(r'"?sep=([,;\t|])"?\r?\n')

PathLike = str | os.PathLike[str]


def read_bytes(path: PathLike, size_limit: str, what: str = "a file") -> bytes:
    """Return a file's bytes.

    Args:
        path: the file.
        size_limit: the name of the limit on its size.
        what: what it should be, for messages: ``"a result record"``.

    Raises:
        UserError: when it is missing, no plain file, larger than the limit, or can't be read.
    """
    with reading(path, what):
        check_size(path, size_limit)
        return Path(path).read_bytes()


def read_text(path: PathLike, size_limit: str, what: str = "a text file") -> str:
    """Return a file's text: UTF-8, with or without a byte-order mark; line ends as they are.

    Raises:
        UserError: as `read_bytes`, and when it is not UTF-8.
    """
    data = read_bytes(path, size_limit, what)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error


def read_json(path: PathLike, what: str = "JSON", remedy: str = "Get the file again.") -> Any:
    """Return the value in a JSON file.

    Raises:
        UserError: as `read_text`; when it is no JSON, sets a key twice, holds NaN or infinity, a lone surrogate, an
            integer too long for Python, or more values or levels than the limits.
    """
    text = read_text(path, "json_bytes", what)
    return parse_json(text, str(path), what, remedy)


def parse_json(text: str, where: str, what: str = "JSON", remedy: str = "Get the file again.") -> Any:
    """Return the value in JSON ``text``; ``where`` is its file.  Raises as `read_json`."""
    with reading(where, what, remedy):
        if len(text) > limit("json_bytes"):
            raise beyond(where, f"it has {len(text)} characters", "json_bytes")
        try:
            value = json.loads(text, object_pairs_hook=_unique, parse_constant=_constant)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{where} is damaged, or not {what}: not valid JSON: {error}. {remedy}"
            ) from error
        check_tree(value, where)
        if "\\ud" in text.lower():
            _refuse_lone_surrogates(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise UserError(f"field '{twice}' is set twice.")
    return result


def _constant(name: str) -> NoReturn:
    raise UserError(f"it contains {name}; numbers must be finite.")


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            "a text holds half a character (a lone surrogate), which can't be written."
        ) from error


class _Strict:
    """Composing without a key twice in a mapping, or a key that isn't text; sizes are checked before construction."""

    # Checked when nodes are composed: construction expands "<<" merges, which may repeat keys legitimately.
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping and check its keys."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)  # type: ignore[misc]
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == _MERGE_TAG:
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key.start_mark)
            if key.tag != _STRING_TAG:
                what = f"YAML does not read the key {key.value} as text; write it in quotes: '{key.value}'"
                raise yaml.constructor.ConstructorError(None, None, what, key.start_mark)
            if key.value in seen:
                what = f"the key '{key.value}' is set twice in one mapping; keep one of them"
                raise yaml.constructor.ConstructorError(None, None, what, key.start_mark)
            seen.add(key.value)
        return node

    def get_single_data(self: Any) -> Any:
        """Compose, check the size of what anchors and merges stand for, and only then construct."""
        node = self.get_single_node()
        if node is None:
            return None
        check_tree(node, "a YAML text", "yaml_values", _yaml_children, (yaml.CollectionNode,))
        return self.construct_document(node)


class StrictLoader(_Strict, yaml.SafeLoader):
    """PyYAML's safe loader that takes no key twice in a mapping, and only text as keys."""


if yaml.__with_libyaml__:
    from yaml._yaml import CParser

    class _FastLoader(_Strict, Composer, CParser, SafeConstructor, Resolver):
        """`StrictLoader` on libyaml's scanner: five times as fast, with poorer messages."""

        def __init__(self, text: str) -> None:
            CParser.__init__(self, text)
            for part in (Composer, SafeConstructor, Resolver):
                part.__init__(self)


def _yaml_children(node: Any) -> list[Any]:
    values: list[Any] = node.value
    return [part for pair in values for part in pair] if isinstance(node, yaml.MappingNode) else values


def read_yaml(path: PathLike, what: str = "YAML", remedy: str = "Get the file again.") -> Any:
    """Return the value in a YAML file: strict (no key twice, keys are text), no tags but YAML's own.

    Raises:
        UserError: as `read_text`; when it is no YAML (with line and column), or holds more values, those that anchors
            repeat counted each time, or more levels than the limits.
    """
    return parse_yaml(read_text(path, "yaml_bytes", what), str(path), what, remedy)


def parse_yaml(
    text: str,
    where: str,
    what: str = "YAML",
    remedy: str = "Get the file again.",
    loader: type[StrictLoader] = StrictLoader,
) -> Any:
    """Return the value in YAML ``text`` of the file ``where``; a ``loader`` may add tags.  Raises as `read_yaml`."""
    with reading(where, what, remedy):
        try:
            if loader is StrictLoader and yaml.__with_libyaml__:
                with suppress(yaml.YAMLError):  # the other one has a better message
                    return yaml.load(text, Loader=_FastLoader)  # type: ignore[arg-type]  # noqa: S506 - constructs as SafeLoader
            return yaml.load(text, Loader=loader)  # noqa: S506 - a subclass of SafeLoader
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            problem = error.problem or error.context or "can't be understood"
            raise UserError(f"{where}{place}: {problem}.") from error
        except yaml.YAMLError as error:
            raise UserError(f"{where} is not YAML: {' '.join(str(error).split())}.") from error


def read_csv(path: PathLike, what: str = "a CSV table") -> list[list[str]]:
    """Return the rows of a CSV file, cells as text; blank lines at the end are left out.

    A first line ``sep=;``, as spreadsheets write it, names the separator and is no row; rows keep their line numbers
    less one then.

    Raises:
        UserError: as `read_text`; when it is no CSV (with the line).
    """
    return parse_csv(read_text(path, "csv_bytes", what), str(path))


def read_table(
    path: PathLike, what: str = "a CSV table", columns: Sequence[str] | None = None
) -> list[tuple[int, dict[str, str]]]:
    """Return the rows below a CSV file's header: line, and column → cell.

    Args:
        path: the file.
        what: what it should be, for messages.
        columns: those that it must have, in this order; None for any.

    Raises:
        UserError: as `read_csv`; when the columns are others, or a row has another number of cells.
    """
    rows = read_csv(path, what)
    header = rows[0] if rows else []
    if columns is not None and header != [*columns]:
        raise UserError(f"{path}: the columns must be {','.join(columns)}.")
    for line, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise UserError(f"{path}, line {line}: not {len(header)} cells.")
    return [(line, dict(zip(header, row, strict=True))) for line, row in enumerate(rows[1:], 2)]


def parse_csv(text: str, where: str) -> list[list[str]]:
    """Return the rows of CSV ``text``; ``where`` is its file.  Raises as `read_csv`."""
    named = _SEPARATOR.match(text)
    body = text[named.end() :] if named else text
    separator = named[1] if named else ","
    lines = max(body.count("\n"), body.count("\r")) + 1
    for name, found in (("csv_rows", lines), ("csv_cells", lines + body.count(separator))):
        if found > limit(name):
            raise beyond(where, f"it has {found} {name.partition('_')[2]}", name)
    reader = csv.reader(io.StringIO(body, newline=""), strict=True, delimiter=separator)
    try:
        rows = list(reader)
    except csv.Error as error:
        line = reader.line_num + (1 if named else 0)
        raise UserError(f"{where}, line {line}: not CSV: {error}.") from error
    while rows and not rows[-1]:
        rows.pop()
    if rows and len(rows[0]) > limit("csv_columns"):
        raise beyond(where, f"it has {len(rows[0])} columns", "csv_columns")
    return rows
