"""`Config`: a nested dict that knows dotted keys, attributes, and who set each key."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from ..errors import UserError
from ..files.atomic import write_text
from ..naming import did_you_mean, nearest_name

DELETE = "_DELETE_CONFIG_"  # OpenOOD's word: a later file that sets a key to it takes the key away
_ABSENT: Any = object()


class MissingKeyError(UserError, KeyError):
    """``config["a.b"]`` of a key that nothing sets."""

    def __str__(self) -> str:  # KeyError would show the message's repr
        return str(self.args[0]) if self.args else ""


class MissingAttributeError(UserError, AttributeError):
    """``config.a`` of a key that nothing sets."""


class Config(dict[str, Any]):
    """A nested dict whose items are reached as ``config["a"]["b"]``, ``config["a.b"]`` or ``config.a.b``.

    Keys are text; a dot in a key separates sections, so it never is part of a name.  Mappings that are put in
    become sections (`Config`); mappings inside lists stay plain.  Attribute access reaches whatever is not
    already an attribute of a dict or of this class (a key called ``items`` is ``config["items"]``).

    Unlike OpenOOD's, a missing key is an error in attribute access too, never None.

    Args:
        values: any mapping or iterable of pairs, copied section by section (lists are shared, as in a dict).
        more: further top-level keys.

    Raises:
        UserError: when a key is not text, or has an empty part (``"a..b"``).
    """

    __slots__ = ("_sources",)
    _sources: dict[str, str]  # key of this section → who set it; leaves only

    def __init__(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **more: Any) -> None:
        super().__init__()
        object.__setattr__(self, "_sources", {})
        if isinstance(values, Config):
            for key, value in values.items():
                dict.__setitem__(self, key, Config(value) if isinstance(value, Config) else value)
            self._sources.update(values._sources)
        else:
            self.merge(dict(values))
        self.merge(more)

    # --- where a key lives -------------------------------------------------------------------------------

    def _locate(self, key: object) -> tuple[Config, str] | None:
        """Return (section, last part) of a dotted key that is set, else None."""
        if not isinstance(key, str):
            return None
        section: Config = self
        *path, last = key.split(".")
        for part in path:
            inner = dict.get(section, part)
            if not isinstance(inner, Config):
                return None
            section = inner
        return (section, last) if dict.__contains__(section, last) else None

    def _make_way(self, key: str) -> tuple[Config, str]:
        """Return (section, last part) of a dotted key; makes sections on the way, also in place of leaves."""
        *path, last = split_key(key)
        section: Config = self
        for part in path:
            inner = dict.get(section, part)
            if not isinstance(inner, Config):
                inner = Config()
                dict.__setitem__(section, part, inner)
                section._sources.pop(part, None)
            section = inner
        return section, last

    def _missing(self, key: object) -> str:
        if "." in str(key):
            nearest = nearest_name(str(key), (name for name, _ in self.leaves()))
        else:
            nearest = did_you_mean(str(key), self)
        return f"the configuration has no key '{key}'.{nearest}"

    # --- as a dict ---------------------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        place = self._locate(key)
        if place is None:
            raise MissingKeyError(self._missing(key))
        return dict.__getitem__(*place)

    def __setitem__(self, key: str, value: Any) -> None:
        section, last = self._make_way(key)
        is_section = isinstance(value, Mapping) and not isinstance(value, Config)
        dict.__setitem__(section, last, Config(value) if is_section else value)
        section._sources.pop(last, None)

    def __delitem__(self, key: str) -> None:
        place = self._locate(key)
        if place is None:
            raise MissingKeyError(self._missing(key))
        section, last = place
        dict.__delitem__(section, last)
        section._sources.pop(last, None)

    def __contains__(self, key: object) -> bool:
        return self._locate(key) is not None

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a (dotted) key, or ``default`` when it is not set."""
        place = self._locate(key)
        return default if place is None else dict.__getitem__(*place)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As `dict.setdefault`, with dotted keys."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str, default: Any = _ABSENT) -> Any:
        """As `dict.pop`, with dotted keys."""
        if key not in self and default is not _ABSENT:
            return default
        value = self[key]
        del self[key]
        return value

    def update(self, values: Any = (), /, **more: Any) -> None:
        """As `dict.update`: sections are replaced, not merged (see `merge`)."""
        for key, value in {**dict(values), **more}.items():
            self[key] = value

    def __or__(self, other: Any) -> Any:
        result = self.copy()
        result.update(other)
        return result

    def __ror__(self, other: Any) -> Any:
        return Config(other) | self

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def copy(self) -> Config:
        """Return a shallow copy: the sections inside are shared, as `dict.copy` shares them."""
        result = Config()
        for key, value in self.items():
            dict.__setitem__(result, key, value)
        result._sources.update(self._sources)
        return result

    __copy__ = copy

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (dict(self), dict(self._sources))

    # --- by attribute ------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # pickle, copy and numpy ask for many of these
            raise AttributeError(name)
        if dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        raise MissingAttributeError(self._missing(name))

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            raise AttributeError(f"'{name}' is an attribute of every Config: write config['{name}'] = ...")
        self[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self:
            raise MissingAttributeError(self._missing(name))
        del self[name]

    # --- more than a dict --------------------------------------------------------------------------------

    def leaves(self) -> Iterator[tuple[str, Any]]:
        """Yield ``(dotted key, value)`` of all that is not a section; an empty section counts as a leaf."""
        for key, value in self.items():
            if isinstance(value, Config) and value:
                for rest, leaf in value.leaves():
                    yield f"{key}.{rest}", leaf
            else:
                yield key, value

    def merge(self, values: Mapping[str, Any], source: str | None = None) -> None:
        """Merge a nested mapping in, as a later file is merged: leaf by leaf, later wins.

        Lists are replaced as a whole; an empty mapping replaces a section; a mapping takes the place of a
        leaf and a leaf that of a section; the value ``_DELETE_CONFIG_`` takes the key away.

        Args:
            values: nested mapping; dotted keys reach into sections.
            source: who sets these, for `source_of`.
        """
        for key, value in values.items():
            section, last = self._make_way(key)
            present = dict.get(section, last)
            if isinstance(value, Mapping) and value:
                if not isinstance(present, Config):
                    present = Config()
                    dict.__setitem__(section, last, present)
                    section._sources.pop(last, None)
                inherited = value._sources if source is None and isinstance(value, Config) else {}
                present.merge(value, source)
                present._sources.update(inherited)
            elif isinstance(value, str) and value == DELETE:
                dict.pop(section, last, None)
                section._sources.pop(last, None)
            else:
                section[last] = value
                if source is not None:
                    section._sources[last] = source

    def source_of(self, key: str) -> str | None:
        """Return who set a key: the file's path, ``"command line"``, or None when a program did.

        For a section it is everyone who set something in it, in order, separated by commas.
        """
        place = self._locate(key)
        if place is None:
            return None
        section, last = place
        inner = dict.__getitem__(section, last)
        if isinstance(inner, Config) and inner:
            sources = [inner.source_of(each) for each, _ in inner.leaves()]
            return ", ".join(dict.fromkeys(s for s in sources if s)) or None
        return section._sources.get(last)

    def to_dict(self) -> dict[str, Any]:
        """Return plain nested dicts, and copies of the lists."""
        return {key: plain(value) for key, value in self.items()}

    def dump(self, path: str | os.PathLike[str]) -> None:
        """Write the values as YAML, atomically.

        Tuples become lists, and paths text.

        Raises:
            UserError: when a value has no place in YAML; the file is then left as it was.
        """
        try:
            text = yaml.safe_dump(_for_yaml(self), sort_keys=False, allow_unicode=True)
        except yaml.YAMLError as error:
            raise UserError(f"{path}: this configuration can't be written as YAML: {error}") from error
        write_text(path, text)


def split_key(key: object) -> list[str]:
    """Return the parts of a dotted key.

    Raises:
        UserError: when the key is not text, or a part is empty.
    """
    if not isinstance(key, str):
        raise UserError(
            f"configuration keys are text, got {key!r} ({type(key).__name__}); write it in quotes."
        )
    parts = key.split(".")
    if not all(parts):
        raise UserError(f"the configuration key {key!r} has an empty part; write it as section.key.")
    return parts


def plain(value: Any) -> Any:
    """Return a deep copy in which every mapping is a plain dict."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain(inner) for inner in value)
    return copy.deepcopy(value)


def _for_yaml(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _for_yaml(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_for_yaml(inner) for inner in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _rebuild(values: dict[str, Any], sources: dict[str, str]) -> Config:
    config = Config()
    for key, value in values.items():
        dict.__setitem__(config, key, value)
    config._sources.update(sources)
    return config
