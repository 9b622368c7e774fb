"""A script's command line as OpenOOD's parser can take it: files that exist, values that it can read.

OpenOOD's parser turns the text of an override into the type of the old value, which spoils lists, and
evaluates what follows a colon.  For a multimodal config overrides are read by our own, and reach OpenOOD in a
file, as the last of ``--config``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..config import COMMAND_LINE, Config, apply_overrides, find_config, load_config, read_config
from ..config.config import plain
from ..errors import UserError
from ..registry import POSTPROCESSORS
from . import preflight, training
from .native import PREFIX


def prepare_arguments(words: list[str], root: Path, scratch: Path) -> list[str]:
    """Return the script's words with config files found, and checked where they are multimodal.

    Args:
        words: what follows the script; those without ``--config`` are returned as they are.
        root: OpenOOD's folder, where config files are looked up after the working directory.
        scratch: folder for a file with the overrides.

    Raises:
        UserError: a config that is nowhere, and every mistake in a multimodal config that is seen without
            running it.
    """
    words = [part for word in words for part in _split_config(word)]
    if "--config" not in words:
        return words
    start = words.index("--config") + 1
    stop = next((i for i in range(start, len(words)) if words[i].startswith("--")), len(words))
    files = [_find(name, root) if name.strip() else name for name in words[start:stop]]
    overrides = [*words[: start - 1], *words[stop:]]
    if not _is_multimodal(files):
        return [*words[:start], *files, *words[stop:]]
    _check_training(files, overrides)
    files += _own_score(files, overrides, root, scratch)
    files[:0] = _defaults(files, scratch)
    config = load_config(files, overrides)
    for key in preflight.LAUNCH_KEYS:
        if config.get(key) is None:
            raise UserError(
                f"{key} is not set, and OpenOOD's main.py reads it; add one of configs/pipelines/*/*.yml after "
                "--config, or set it in a file of yours."
            )
    _check_folder(config)
    if overrides:
        files.append(str(_write_overrides(files, overrides, scratch)))
    return ["--config", *files]


def _check_folder(config: Config) -> None:
    """Refuse an ``output_dir`` below a file."""
    folder = Path(str(config["output_dir"]))
    for each in (folder, *folder.parents):
        if os.path.lexists(each):
            if not each.is_dir():
                raise UserError(
                    f"output_dir is {folder}, and {each} is a file; name another folder: --output_dir."
                )
            break


def _split_config(word: str) -> list[str]:
    """``--config=FILE``, which argparse takes as well, → ``--config FILE``; other words as they are."""
    return ["--config", word.removeprefix("--config=")] if word.startswith("--config=") else [word]


def _find(name: str, root: Path) -> str:
    if not Path(name).is_absolute() and not Path(name).is_file() and (root / name).is_file():
        return str(root / name)
    try:
        return str(find_config(name))
    except UserError as error:
        raise UserError(f"{error} (Nor is it in OpenOOD's folder, {root}.)") from error


def _is_multimodal(files: list[str]) -> bool:
    """Whether any of the files names a component of ours."""
    return preflight.is_multimodal(_merged(files))


def _merged(files: list[str]) -> Config:
    """Merge config files, references unresolved; one that OpenOOD may read and we can't is left out."""
    config = Config()
    for file in files:
        try:
            config.merge(plain(read_config(file)))
        except UserError:
            continue
    return config


def _check_training(files: list[str], overrides: list[str]) -> None:
    """Refuse an unsuitable training before its config's missing keys are: some of OpenOOD's are only parts of one."""
    config, given = _merged(files), dict(_pairs(overrides))
    keys = [f"{section}.name" for section in ("network", "pipeline", "trainer", "evaluator")]
    training.check_suitable(*(str(given.get(f"--{key}", config.get(key))) for key in keys))


def _own_score(files: list[str], overrides: list[str], root: Path, scratch: Path) -> list[str]:
    """Return a file with the section ``postprocessor`` where ``mm_<name>`` is asked for and no file has one.

    Raises:
        UserError: where one of OpenOOD's is asked for, whose parameters are in a file of its own.
    """
    name = next((value for key, value in _pairs(overrides) if key == "--postprocessor.name"), None)
    if name is None or any("postprocessor" in read_config(file) for file in files if file.strip()):
        return []
    score = POSTPROCESSORS.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    if score is None:
        theirs = Path("configs", "postprocessors", f"{name}.yml")
        if not (root / theirs).is_file():
            return []
        raise UserError(
            f"--postprocessor.name is {name}, whose parameters are in a file of OpenOOD's: add {theirs} after --config."
        )
    section = {
        "name": name,
        "APS_mode": False,
        "postprocessor_args": dict(score.from_preset("openood").parameters),
    }
    path = scratch / "postprocessor.yml"
    Config({"postprocessor": section}).dump(path)
    return [str(path)]


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    for place, word in enumerate(words):
        key, equals, value = word.partition("=")
        if equals:
            yield key, value
        elif place + 1 < len(words):
            yield word, words[place + 1]


_DEFAULTS = {"seed": 0, "num_machines": 1, "machine_rank": 0}
"""Keys that many of OpenOOD's training configs leave out, and that datasets' configs refer to."""


def _defaults(files: list[str], scratch: Path) -> list[str]:
    """Return a file, to go before the others, with what none of them sets of `_DEFAULTS`."""
    named = {key for file in files if file.strip() for key in read_config(file)}
    lacking = {key: value for key, value in _DEFAULTS.items() if key not in named}
    if not lacking:
        return []
    path = scratch / "defaults.yml"
    Config(lacking).dump(path)
    return [str(path)]


def _write_overrides(files: list[str], overrides: list[str], scratch: Path) -> Path:
    config = Config()
    for file in files:
        if file.strip():
            config.merge(plain(read_config(file)), file)
    apply_overrides(config, overrides, files)
    changed = Config()
    for key, value in config.leaves():
        if config.source_of(key) == COMMAND_LINE:
            changed[key] = value
    path = scratch / "overrides.yml"
    changed.dump(path)
    return path
