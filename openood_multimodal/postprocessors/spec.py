"""How a score is written: ``knn``, ``knn(K=10)``, ``per_modality(msp,combine=max)``, ``ensemble(msp,knn)``.

The same text serves in YAML, on the command line and in Python.  It is also what results call the score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..config import bind
from ..config.values import UnreadableError, read_list, read_mapping, read_scalar
from ..errors import ArgumentError, UserError
from ..naming import did_you_mean
from ..registry import POSTPROCESSORS
from .base import Postprocessor
from .combine import Combination
from .params import known_parameters

MAX_DEPTH = 8
"""How deep combinations may be nested."""

_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Spec:
    """A score as it is written.

    Attributes:
        name: the registered name.
        scores: the scores that it combines.
        arguments: its parameters, as they are written: name → text.
    """

    name: str
    scores: tuple[Spec, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        inside = [*map(str, self.scores), *(f"{key}={value}" for key, value in self.arguments.items())]
        return f"{self.name}({','.join(inside)})" if inside else self.name


def split_names(names: str | Iterable[str]) -> list[str]:
    """Return the scores that are asked for, from text with commas, or from words that YAML or a shell cut at commas.

    >>> split_names("msp, per_modality(knn, combine=max)")
    ['msp', 'per_modality(knn,combine=max)']
    >>> split_names(["msp", "per_modality(knn", "combine=max)"])
    ['msp', 'per_modality(knn,combine=max)']

    Raises:
        UserError: for brackets that don't match.
    """
    text = names if isinstance(names, str) else ",".join(names)
    return ["".join(each.split()) for each in split_outside(text, ",")]


def split_outside(text: str, separator: str, most: int = -1) -> list[str]:
    """Split ``text`` at ``separator`` outside brackets, ``most`` times at the most (-1: everywhere).

    Raises:
        UserError: for brackets that don't match.
    """
    parts: list[str] = []
    open_brackets: list[str] = []
    start = 0
    for i, character in enumerate(text):
        if character in _CLOSING:
            open_brackets.append(_CLOSING[character])
        elif character in _CLOSING.values():
            if not open_brackets or open_brackets.pop() != character:
                raise UserError(f"'{text}' has a '{character}' too many, or at a wrong place.")
        elif character == separator and not open_brackets and most != len(parts):
            parts.append(text[start:i])
            start = i + 1
    if open_brackets:
        raise UserError(f"'{text}' lacks '{''.join(reversed(open_brackets))}' (quote it in a shell).")
    return [*parts, text[start:]]


def parse_spec(text: str, depth: int = 0) -> Spec:
    """Return what ``text`` says.

    >>> str(parse_spec("ensemble( msp, knn(K=10) )"))
    'ensemble(msp,knn(K=10))'

    Raises:
        UserError: when it has another form.
    """
    text = "".join(text.split())
    name, bracket, inside = text.partition("(")
    if depth > MAX_DEPTH:
        raise UserError(f"'{text}' is nested more than {MAX_DEPTH} deep.")
    if not name or (bracket and not inside.endswith(")")) or set(name) & set(")[]{}=,"):
        raise UserError(f"a score is written knn, knn(K=10) or per_modality(knn,combine=max); got '{text}'.")
    scores, arguments = [], {}
    for part in split_outside(inside[:-1], ",") if inside[:-1] else []:
        key, *value = split_outside(part, "=", 1)
        if not value:
            scores.append(parse_spec(part, depth + 1))
        elif key in arguments or not (key and value[0]):
            raise UserError(f"'{text}' sets '{key}' twice, or to nothing.")
        else:
            arguments[key] = value[0]
    return Spec(name, tuple(scores), arguments)


def build_score(
    text: str, preset: str = "openood", parameters: Mapping[str, Any] | None = None
) -> Postprocessor:
    """Return the score that ``text`` describes, not fitted yet; results call it as it is written.

    Args:
        text: see `parse_spec`.
        preset: ``"openood"`` or ``"multiood"``, also of the scores that are combined.
        parameters: those of the score, beside what ``text`` sets; ``scores`` lists what a combination combines.

    Raises:
        UserError: for an unknown score, preset or parameter, or a value of a wrong type.
    """
    spec = parse_spec(text)
    score = _build(spec, preset, dict(parameters or {}))
    score.name = str(spec) if spec.scores or spec.arguments else score.name
    return score


def read_settings(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return score → parameter → value from ``["knn.K=10", ...]``; later ones win.

    Values are read as in configs (``null``, ``true``, ``0.1``, text); `build_score` checks their types.

    Raises:
        UserError: when a text has another form.
    """
    settings: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, *value = split_outside(text, "=", 1)
        name, *parameter = split_outside(key, ".", 1)
        if not (name and parameter and parameter[0] and value and value[0]):
            raise ArgumentError(
                "set", f"is written POSTPROCESSOR.PARAMETER=VALUE, e.g. knn.K=10; got '{text}'."
            )
        try:
            settings.setdefault(name, {})[parameter[0]] = read_value(value[0])
        except UnreadableError as error:
            raise ArgumentError("set", f"{text}: {error}") from None
    return settings


def _build(spec: Spec, preset: str, parameters: dict[str, Any]) -> Postprocessor:
    kind = POSTPROCESSORS.get(spec.name)
    if not (isinstance(kind, type) and issubclass(kind, Postprocessor)):
        raise UserError(f"'{spec.name}' can't be scored here: derive it from postprocessors.Postprocessor.")
    if preset not in kind.presets:
        raise UserError(f"there is no preset called '{preset}'.{did_you_mean(preset, kind.presets)}")
    combines = issubclass(kind, Combination)
    listed = parameters.pop("scores", ()) if combines else ()
    scores = [
        build_score(str(each), preset) for each in spec.scores or (split_names(listed) if listed else ())
    ]
    if scores and not combines:
        raise UserError(f"'{spec.name}' combines no other scores, so '{spec}' means nothing.")
    twice = next((key for key in parameters if key in spec.arguments), None)
    if twice is not None:
        raise UserError(f"'{spec}' sets {twice}, and so do its parameters; leave one of the two out.")
    given = {key: _value(text) for key, text in spec.arguments.items()} | parameters
    known = known_parameters(kind.Params)
    for key in given:
        if key not in known:
            raise UserError(
                f"{spec.name}.{key} is not a parameter.{did_you_mean(key, known) if known else ' It has none.'}"
            )
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in given.items()}
    try:
        bound = bind(plain, kind.Params, spec.name, ignore=())
        return kind.from_preset(preset, *scores, **{key: getattr(bound, key) for key in plain})
    except UserError as error:
        raise UserError(
            str(error) if str(error).startswith(spec.name) else f"{spec.name}: {error}"
        ) from error


def read_value(text: str) -> Any:
    """Return a parameter's value: a list from ``[a,b]``, a mapping from ``{a: b}``, else as YAML reads it.

    Raises:
        UnreadableError: for bad YAML.
    """
    if text.startswith("["):
        return read_list([text], [])
    return read_mapping([text]) if text.startswith("{") else read_scalar(text, None)


def _value(text: str) -> Any:
    try:
        return read_value(text)
    except UnreadableError as error:
        raise UserError(f"'{text}': {error}") from None
