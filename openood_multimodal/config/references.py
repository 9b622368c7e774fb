"""``@{a.b}`` references, as OpenOOD writes them.

``key: '@{a.b}'`` (nothing else in the value) takes the other key's value with its type.  Inside a longer
string a reference is written in single quotes, which are removed: ``"'@{dataset.name}'_e'@{optimizer.num_epochs}'"``.

OpenOOD replaces in one pass, so a reference to a reference is right or wrong by the order of the keys.  Here
each is resolved before it is used, so the order does not matter.
"""

from __future__ import annotations

import copy
import difflib
import logging
import re
from collections.abc import Callable
from typing import Any

from ..errors import UserError
from ..naming import nearest_name
from .config import Config

_log = logging.getLogger(__name__)
_QUOTED = re.compile(r"'@\{(.+?)\}'")


def is_reference(value: object) -> bool:
    """Return whether a value is one reference as a whole, ``@{a.b}``."""
    return isinstance(value, str) and value.count("@") == 1 and value.startswith("@{") and value.endswith("}")


def references_in(text: str) -> list[str]:
    """Return the keys that a value refers to."""
    return [text[2:-1]] if is_reference(text) else _QUOTED.findall(text)


def replace_references(text: str, by: Callable[[str], str]) -> str:
    """Return a value with ``by(key)`` in place of each reference."""
    return by(text[2:-1]) if is_reference(text) else _QUOTED.sub(lambda match: by(match.group(1)), text)


def resolve_references(config: Config) -> None:
    """Replace all references of a config, in place.

    A referenced section or list is copied.  As in OpenOOD, references inside lists, and references inside a
    longer string without single quotes, stay as they are; a warning is logged for those.

    Raises:
        UserError: a reference to a key that is not set, to itself by any way, or to a section from inside a
            string.  The message names the key and the file that set it.
    """
    resolver = _Resolver(config)
    for key, _ in list(config.leaves()):
        if key in config:
            resolver.lookup(key)


def referenced_value(config: Config, reference: str) -> Any:
    """Return what a whole-value reference stands for, leaving ``config`` as it is.

    Raises:
        UserError: as `resolve_references`.
    """
    return _Resolver(copy.deepcopy(config)).lookup(reference[2:-1])


class _Resolver:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.done: set[str] = set()
        self.active: list[str] = []

    def lookup(self, key: str) -> Any:
        """Return the value of a key with all references in it resolved; KeyError when it is not set."""
        section: Any = self.config
        path: list[str] = []
        for part in key.split("."):
            if not isinstance(section, Config) or not dict.__contains__(section, part):
                raise KeyError(key)
            path.append(part)
            section = self._resolved(section, part, ".".join(path))
        if isinstance(section, Config):
            for rest, _ in list(section.leaves()):
                self.lookup(f"{key}.{rest}")
        return section

    def _resolved(self, section: Config, part: str, path: str) -> Any:
        value = dict.__getitem__(section, part)
        if path in self.done or isinstance(value, Config):
            return value
        if isinstance(value, list):
            self._warn_about_list(value, path)
        if isinstance(value, str) and "@" in value:
            if path in self.active:
                raise UserError(
                    f"{path}{self._by(path)} refers to itself: {' -> '.join([*self.active, path])}. "
                    "Give one of them a value."
                )
            self.active.append(path)
            value = self._value_of(value, path)
            self.active.pop()
            dict.__setitem__(section, part, value)  # not section[...]: who set it stays recorded
            if isinstance(value, Config):
                self.done.update(f"{path}.{rest}" for rest, _ in value.leaves())
        self.done.add(path)
        return value

    def _value_of(self, text: str, path: str) -> Any:
        if is_reference(text):
            return copy.deepcopy(self._follow(text[2:-1], path, text))
        result = _QUOTED.sub(lambda match: self._as_text(match.group(1), path, text), text)
        if "@{" in _QUOTED.sub("", text):
            _log.warning(
                "%s%s is %r: a reference inside a string stands in single quotes, '@{a.b}'; left as it is.",
                *(path, self._by(path), text),
            )
        return result

    def _as_text(self, key: str, path: str, text: str) -> str:
        value = self._follow(key, path, text)
        if isinstance(value, Config):
            raise UserError(
                f"{path}{self._by(path)} is {text!r}, but '{key}' is a section and can't be part of a string."
                f" Refer to a key in it: {', '.join(f'{key}.{name}' for name in value)}."
            )
        return str(value)

    def _follow(self, key: str, path: str, text: str) -> Any:
        try:
            return self.lookup(key)
        except KeyError as error:
            if isinstance(error, UserError):
                raise
            hint = nearest_name(key, (name for name, _ in self.config.leaves() if name != path))
            alike = difflib.get_close_matches(key, self.config, n=1)
            if "." not in key and "pipeline" not in self.config and not alike:
                hint = " Configs of pipelines do: name one, too, e.g. pipelines/train/a2d.yml."
            raise UserError(f"{path}{self._by(path)} is {text!r}, but nothing sets '{key}'.{hint}") from None

    def _by(self, path: str) -> str:
        source = self.config.source_of(path)
        return f" (set by {source})" if source else ""

    def _warn_about_list(self, items: list[Any], path: str) -> None:
        if any(isinstance(item, str) and "@{" in item for item in items):
            _log.warning(
                "%s%s has a reference inside a list; OpenOOD does not replace those, and neither does this.",
                *(path, self._by(path)),
            )
