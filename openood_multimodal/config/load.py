"""From file names and command-line words to one configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UserError
from ..files.paths import check_text, file_name
from .config import Config, plain
from .files import find_config, read_config
from .overrides import COMMAND_LINE, apply_overrides
from .references import references_in, replace_references, resolve_references

HOST_DEFAULTS: Mapping[str, Any] = {
    "seed": 0,
    "num_gpus": 0,
    "num_workers": 0,
    "num_machines": 1,
    "machine_rank": 0,
}
"""What pipelines' configs set and datasets' and networks' refer to: first among the files where no pipeline runs."""


def load_config(
    files: Sequence[str | os.PathLike[str] | Mapping[str, Any]], overrides: Sequence[str] = ()
) -> Config:
    """Merge config files in order, apply overrides, resolve references, complete ``output_dir``.

    Args:
        files: names as after ``--config``: looked up in the working directory, then among the packaged
            configs (see `find_config`).  A mapping may stand in place of a file.
        overrides: command-line words, e.g. ``["--seed", "3", "--dataset.train.batch_size=64"]``.

    Returns:
        The configuration.  ``output_dir`` is ``os.path.join(output_dir, exp_name)``, as in OpenOOD, when both
        are set; files that lack one of them (a dataset's alone) pass.

    Raises:
        UserError: with one message, for every mistake in names, files, overrides and references.

    >>> config = load_config([{"seed": 0, "trainer": {"gamma": 1.0}, "exp_name": "run_'@{seed}'"}], ["--seed", "3"])
    >>> config.seed, config.trainer.gamma, config.exp_name
    (3, 1.0, 'run_3')
    """
    if isinstance(files, str | os.PathLike | Mapping):
        files = [files]
    config = Config()
    searched: list[str] = []
    for file in files:
        if isinstance(file, Mapping):
            config.merge(plain(file), None)
        elif str(file).strip():  # OpenOOD passes over blank names, which shell scripts leave behind
            path = find_config(file)
            config.merge(plain(read_config(path)), str(path))
            searched.append(str(path))
    if not config:
        raise UserError(
            "no config was given. Name at least one file after --config; see 'openood-mm list configs'."
        )
    apply_overrides(config, overrides, searched)
    templates = {key: config.get(key) for key in ("output_dir", "exp_name")}
    resolve_references(config)
    for key, template in templates.items():
        _check_folder(config, key, template)
    _complete_output_dir(config)
    return config


def _check_folder(config: Config, key: str, template: object) -> None:
    """Refuse names out of files that lead out of ``output_dir``; the command line may name any folder.

    The text of ``exp_name`` may hold folders, as ``.../s'@{seed}'`` does; what ``output_dir`` and ``exp_name`` refer to
    is one name each, paths of checkpoints apart.
    """
    if not isinstance(template, str) or config.source_of(key) == COMMAND_LINE:
        return
    try:
        if key == "exp_name" and template:
            check_text(replace_references(template, lambda each: "x" if str(config.get(each)) else ""))
        for each in references_in(template):
            value, source = str(config.get(each)), config.source_of(each)
            if value and source != COMMAND_LINE and not each.endswith("checkpoint"):
                file_name(value, f"value of {each}{f' (set by {source})' if source else ''}")
    except UserError as error:
        raise UserError(f"{key} is {template!r}: {error}") from error


def _complete_output_dir(config: Config) -> None:
    if config.get("output_dir") is None or config.get("exp_name") is None:
        return
    for key in ("output_dir", "exp_name"):
        if not isinstance(config[key], str):
            by = config.source_of(key) or "a program"
            raise UserError(f"{key} must be text, got {config[key]!r} (set by {by}); write it in quotes.")
    joined = (
        os.path.join(config["output_dir"], config["exp_name"]) if config["exp_name"] else config["output_dir"]
    )
    config.merge({"output_dir": joined}, config.source_of("output_dir"))
