"""Where the plugin touches OpenOOD: one table, and what is expected of each entry.

A seam is an attribute of one of OpenOOD's modules.  `check_seams` compares all of them with the table before
anything is changed; a seam that has moved is one error that names it and the version of OpenOOD.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from ..errors import UserError
from .rebind import original_of


@dataclass(frozen=True)
class Seam:
    """One attribute of OpenOOD that the plugin relies on.

    Attributes:
        key: short name.
        module: dotted.
        attribute: name in it, with a dot for a class's method.
        purpose: what the plugin does with it.
        kind: type that it must have.
        parameters: of a function, all of them, in order.
        mentions: names or texts that the function's code must mention.
        rebound: whether its ``__code__`` is exchanged; a handler of the same name as ``key`` takes over.
        picks: whether it chooses a component by ``config.<section>.name``; its names are then read from its
            source, and none of ours may be among them.
    """

    key: str
    module: str
    attribute: str
    purpose: str
    kind: type = FunctionType
    parameters: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    rebound: bool = True
    picks: bool = False

    def __str__(self) -> str:
        return f"{self.module}.{self.attribute}"


_BY_NAME = ("name",)
_LOADER = ("eval", "get_preprocessor", "TestStandardPreProcessor", "split_names", "dataset_class")

SEAMS = (
    Seam(
        "get_dataloader",
        "openood.datasets.utils",
        "get_dataloader",
        "evaluates dataset_class in its module's globals, where our classes are put",
        parameters=("config",),
        mentions=_LOADER,
    ),
    Seam(
        "get_ood_dataloader",
        "openood.datasets.utils",
        "get_ood_dataloader",
        "evaluates dataset_class in its module's globals, where our classes are put",
        parameters=("config",),
        mentions=_LOADER,
    ),
    Seam(
        "test_preprocessor",
        "openood.datasets.utils",
        "TestStandardPreProcessor",
        "is built for every split, whatever the dataset; ours need none",
        kind=type,
        rebound=False,
    ),
    Seam(
        "get_preprocessor",
        "openood.preprocessors.utils",
        "get_preprocessor",
        "preprocessor.name → our preprocessors",
        parameters=("config", "split"),
        mentions=_BY_NAME,
        picks=True,
    ),
    Seam(
        "get_network",
        "openood.networks.utils",
        "get_network",
        "network.name → our networks and wrappers",
        parameters=("network_config",),
        mentions=_BY_NAME,
        picks=True,
    ),
    Seam(
        "get_trainer",
        "openood.trainers.utils",
        "get_trainer",
        "trainer.name → our trainers",
        parameters=("net", "train_loader", "val_loader", "config"),
        mentions=_BY_NAME,
        picks=True,
    ),
    Seam(
        "get_evaluator",
        "openood.evaluators.utils",
        "get_evaluator",
        "evaluator.name → our evaluators",
        parameters=("config",),
        mentions=_BY_NAME,
        picks=True,
    ),
    Seam(
        "get_postprocessor",
        "openood.postprocessors.utils",
        "get_postprocessor",
        "postprocessor.name → our scores, as mm_<name>",
        parameters=("config",),
        mentions=_BY_NAME,
        picks=True,
    ),
    Seam(
        "get_pipeline",
        "openood.pipelines.utils",
        "get_pipeline",
        "pipeline.name → our pipelines; configs are checked here, before anything runs",
        parameters=("config",),
        mentions=_BY_NAME,
        picks=True,
    ),
    Seam(
        "launch",
        "openood.utils.launch",
        "launch",
        "processes that it spawns register first",
        parameters=(
            "main_func",
            "num_gpus_per_machine",
            "num_machines",
            "machine_rank",
            "dist_url",
            "args",
            "timeout",
        ),
        mentions=("spawn",),
    ),
    Seam(
        "num_classes_dict",
        "openood.postprocessors.info",
        "num_classes_dict",
        "dataset.name → number of classes, for mds, rmds, she, gradnorm, klm, openmax",
        kind=dict,
        rebound=False,
    ),
    Seam(
        "compute_all_metrics",
        "openood.evaluators.metrics",
        "compute_all_metrics",
        "is asked what FPR@95 means in this version",
        parameters=("conf", "label", "pred"),
        rebound=False,
    ),
)


@dataclass(frozen=True)
class Found:
    """A seam as it is in the OpenOOD at hand.

    Attributes:
        seam: its row of the table.
        module: the module that holds it.
        value: function, class or dict; of a rebound function the function object itself.
        names: for a seam that picks: the names that OpenOOD has.
    """

    seam: Seam
    module: ModuleType
    value: Any
    names: frozenset[str] = field(default_factory=frozenset)


def check_seams(version: str, seams: tuple[Seam, ...] = SEAMS) -> dict[str, Found]:
    """Import OpenOOD's modules and hold every seam against the table.

    Args:
        version: of OpenOOD, for the message.
        seams: the table.

    Returns:
        Key → what was found.

    Raises:
        UserError: naming the version, each seam that moved, and what was expected of it.
    """
    found: dict[str, Found] = {}
    problems: list[str] = []
    for seam in seams:
        try:
            found[seam.key] = _find(seam)
        except _MovedError as error:
            problems.append(f"{seam} {error}")
    if problems:
        raise UserError(
            f"this OpenOOD ({version}) is not one that the plugin knows: {'; '.join(problems)}. "
            "Use OpenOOD's main or v1.5, or a newer openood-multimodal."
        )
    return found


def _attribute(found: Any, name: str) -> Any:
    return getattr(found, name, None)


class _MovedError(Exception):
    """A seam is not as expected; says what is."""


def _find(seam: Seam) -> Found:
    try:
        module = importlib.import_module(seam.module)
    except ImportError as error:
        raise _MovedError(f"can't be imported ({type(error).__name__}: {error})") from error
    value: Any = functools.reduce(_attribute, seam.attribute.split("."), module)
    if value is None:
        raise _MovedError("does not exist")
    if seam.key == "test_preprocessor":
        value = getattr(value, "openood_class", value)
    if not isinstance(value, seam.kind):
        raise _MovedError(f"is a {type(value).__name__}, not a {seam.kind.__name__}")
    if not isinstance(value, FunctionType):
        return Found(seam, module, value)
    original = original_of(value)
    parameters = tuple(inspect.signature(original).parameters)
    if parameters != seam.parameters:
        raise _MovedError(f"takes ({', '.join(parameters)}), not ({', '.join(seam.parameters)})")
    if original.__closure__:
        raise _MovedError("is a closure")
    said = set(_said(original.__code__))
    for mention in seam.mentions:
        if mention not in said:
            raise _MovedError(f"doesn't mention {mention}")
    names = _names_picked(module, seam.attribute) if seam.picks else frozenset()
    if seam.picks and not names:
        raise _MovedError("picks no component by its name")
    return Found(seam, module, value, names)


def _said(code: CodeType) -> Iterator[str]:
    yield from (*code.co_names, *code.co_varnames)
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, CodeType):
            yield from _said(constant)


def _names_picked(module: ModuleType, function: str) -> frozenset[str]:
    """Read the component names from a function's source: keys of its dicts, comparisons with ``.name``."""
    try:
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    except (OSError, SyntaxError) as error:
        raise _MovedError(f"has no readable source ({error})") from error
    names: set[str] = set()
    for definition in tree.body:
        if isinstance(definition, ast.FunctionDef) and definition.name == function:
            for node in ast.walk(definition):
                if isinstance(node, ast.Dict):
                    names.update(_texts(node.keys))
                elif isinstance(node, ast.Compare) and getattr(node.left, "attr", None) == "name":
                    names.update(_texts(node.comparators))
    return frozenset(names)


def _texts(nodes: Any) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.List | ast.Tuple | ast.Set):
            yield from _texts(node.elts)
