"""Records, and rows of leaderboards, for tests."""

import csv
import hashlib
import io
import json
from pathlib import Path

from made_records import RECORD

from openood_multimodal.reporting.records import ResultRecord
from openood_multimodal.vocabulary import METRICS

CHECKOUT = Path(__file__).resolve().parents[2]


def record(auroc=0.8, fpr=0.4, acc=0.9, **changes):
    """One run's record; the run is named by what it was trained on."""
    values = {"FPR@95": fpr, "AUROC": auroc, "ACC": acc}
    fields = {
        **RECORD,
        "metrics": {
            name: {"value": values.get(name, 0.5), "ci_low": None, "ci_high": None} for name in METRICS
        },
        "date": "2025-01-01",
        **changes,
    }
    run = [fields[name] for name in ("benchmark", "partition", "training", "modalities", "seed", "track")]
    fields.setdefault("run_id", hashlib.sha256(json.dumps(run).encode()).hexdigest()[:16])
    return ResultRecord(**fields)


CONDITION = {
    **{"kind": "noise", "modalities": ["a"], "severity": 3, "level": "embedding"},
    **{"applied_to": "both", "seed": 0},
}


def published(**changes):
    metrics = {"AUROC": {"value": 0.9, "ci_low": None, "ci_high": None}}
    return record(
        **{
            "source": "published",
            "seed": None,
            "metrics": metrics,
            "run_id": "paper",
            "notes": ["P, Table 1"],
        }
        | {"engine": {"name": "theirs", "version": None}}
        | changes
    )


def write(folder, *records):
    for each in records:
        each.write(Path(folder) / each.run_id)
    return folder


def only(rows, **values):
    found = [
        row
        for row in rows
        if all({**row.values, "ood_set": row.ood_set}[name] == value for name, value in values.items())
    ]
    assert len(found) == 1, found
    return found[0]


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def csv_rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def far(ood_set, auroc, **changes):
    return record(auroc=auroc, ood_set=ood_set, setting="far", **changes)
