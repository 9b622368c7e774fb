"""The commands that reproduce a row, from what a record knows of its own making."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from ...resources import list_configs
from ...vocabulary import AVERAGE, EVALUATOR_GROUPS, SETTING_OF
from ..records import ResultRecord

_TABLE = re.compile(r"MultiOOD \(NeurIPS 2024\), Table (\d+)")
_EVALUATORS = {SETTING_OF[group]: name for name, (group,) in EVALUATOR_GROUPS.items()}


def commands(records: Sequence[ResultRecord]) -> list[str]:
    """Return the commands that give a row, of its first run; none where records don't tell how it was made.

    What stands for a path of the user's is in capitals.  Overridden settings are not among them: the digests
    ``training`` and ``config`` show whether a repetition had the same.

    Args:
        records: of one row, at least one.
    """
    first = records[0]
    if first.source == "published":
        tables = [table[1] for note in first.notes if (table := _TABLE.fullmatch(note))]
        modalities = "+".join(first.modalities or ())
        rows = f"{first.benchmark}/{modalities}/*/{first.training}"
        return [
            shlex.join(["openood-mm", "reproduce", f"table{table}", "--data-root", "DATA", "--rows", rows])
            for table in tables
        ]
    if first.condition:
        return []
    if first.track == "own":
        return [shlex.join([*_score(first, {record.ood_set for record in records} - {AVERAGE})])]
    return _run(first)


def _score(record: ResultRecord, ood_sets: set[str]) -> list[str]:
    words = ["openood-mm", "score", "--train", "TRAIN", "--val", "VAL", "--test", "TEST", "--ood"]
    words += [f"{name}=OOD{number}" for number, name in enumerate(sorted(ood_sets), 1)]
    words += ["--head", "HEAD", "--postprocessors", record.postprocessor]
    words += ["--preset", record.preset] if record.preset else []
    words += ["--fit-on", record.fit_on] if record.fit_on else []
    if record.parameters_from in ("given", "searched"):
        given = [
            f"{record.postprocessor}.{name}={_value(value)}" for name, value in record.parameters.items()
        ]
        words += ["--set", *given] if given else []
    return [*words, "--benchmark", record.benchmark, "--out", "OUT"]


def _run(record: ResultRecord) -> list[str]:
    data = next((name for name in list_configs() if PurePosixPath(name).stem == record.benchmark), None)
    if data is None or record.setting is None or not record.training:
        return []
    known = list_configs()
    network, training = f"networks/{record.networks}.yml", f"pipelines/train/{record.training}.yml"
    network = network if network in known else "NETWORK.yml"
    training = training if training in known else "TRAINING.yml"
    common = ["--dataset.partition", record.partition, "--seed", str(record.seed)]
    common += ["--dataset.modalities", ",".join(record.modalities or ())]
    run = ["openood-mm", "run", "--config", data]
    test = [
        f"{data.removesuffix('.yml')}_ood.yml",
        network,
        f"pipelines/test/{_EVALUATORS[record.setting]}.yml",
    ]
    score = ["--network.checkpoint", "BEST.ckpt", "--postprocessors", record.postprocessor]
    score += ["--preset", record.preset] if record.preset else []
    if record.parameters_from in ("given", "searched"):
        score += ["--postprocessor_args", json.dumps({record.postprocessor: record.parameters})]
    return [shlex.join([*run, network, training, *common]), shlex.join([*run, *test, *common, *score])]


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
