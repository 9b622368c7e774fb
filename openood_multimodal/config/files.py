"""Finding and reading one config file: strict YAML, with messages that give file and line."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import UserError
from ..files.text import parse_yaml, read_text
from ..files.trees import check_tree
from ..naming import nearest_name
from ..resources import configs_dir, list_configs
from .config import plain, split_key

_SUFFIXES = (".yml", ".yaml")
_cache: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {}


def find_config(name: str | os.PathLike[str]) -> Path:
    """Return the path of a config: as given (from the working directory), else among the packaged ones.

    Packaged configs are found with and without the leading ``configs/``.

    Raises:
        UserError: when there is none; the message says where it looked and names the nearest packaged config.
    """
    given = Path(name)
    if given.suffix not in _SUFFIXES:
        raise UserError(f"config '{name}': a config is a YAML file, and its name ends in .yml.")
    if given.is_file():
        return given
    if given.is_dir():
        raise UserError(f"config '{name}' is a folder; name a .yml file in it.")
    if given.is_absolute():
        raise UserError(f"config '{name}': there is no such file.")
    packaged = configs_dir()
    parts = PurePosixPath(given.as_posix()).parts
    inner = Path(*parts[1:]) if parts[0] == "configs" and len(parts) > 1 else given
    if (packaged / inner).is_file():
        return packaged / inner
    nearest = nearest_name(inner.as_posix(), list_configs(), "config", separator="/")
    raise UserError(
        f"config '{name}' is neither in {Path.cwd()} nor among the packaged ones, {packaged}.{nearest}"
    )


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return one file's content, nested, with dotted keys (``a.b: 1``) unfolded.

    Unchanged files are parsed once.  The result is shared: don't change it.

    Raises:
        UserError: unreadable file, bad YAML (with the line), no mapping at the top, a key twice or not text.
    """
    file = Path(path)
    try:
        state = file.stat()
        stamp = (state.st_mtime_ns, state.st_size)
        cached = _cache.get(str(file.absolute()))
        if cached is not None and cached[0] == stamp:
            return cached[1]
    except OSError as error:
        raise UserError(f"config {file} can't be read: {error.strerror}.") from error
    content = _parse(read_text(file, "yaml_bytes", "a config"), file)
    _cache[str(file.absolute())] = stamp, content
    return content


def _parse(text: str, file: Path) -> dict[str, Any]:
    where = f"config {file}"
    raw = parse_yaml(text, where, "a config")
    if raw is None:
        raise UserError(f"{where} is empty: it sets nothing. Fill it, or leave it out.")
    if not isinstance(raw, dict):
        raise UserError(f"{where} holds a {type(raw).__name__} at the top; it must be 'key: value' lines.")
    try:
        content = unfold(plain(raw))
        check_tree(content, where, "yaml_values")  # a dotted key may be long
        return content
    except UserError as error:
        raise error if str(file) in str(error) else UserError(f"{where}: {error}") from error


def unfold(tree: dict[str, Any]) -> dict[str, Any]:
    """Return nested dicts in which no key has a dot: ``{"a.b": 1}`` → ``{"a": {"b": 1}}``.

    Raises:
        UserError: when two spellings set one key, e.g. ``a.b: 1`` beside ``a: {b: 2}``.
    """
    result: dict[str, Any] = {}
    _unfold_into(result, tree, "")
    return result


def _unfold_into(result: dict[str, Any], tree: dict[str, Any], prefix: str) -> None:
    for key, value in tree.items():
        *path, last = split_key(key)
        section = result
        for part in path:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise UserError(f"'{prefix}{key}' reaches into '{part}', which is also set to a value.")
        if isinstance(value, dict) and value and isinstance(section.get(last, {}), dict):
            _unfold_into(section.setdefault(last, {}), value, f"{prefix}{key}.")
        elif last in section:
            raise UserError(f"the key '{prefix}{key}' is set twice; keep one of them.")
        else:
            section[last] = value
