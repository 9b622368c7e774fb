"""Submissions to verify: what tests read of them and do to them."""

import json

import numpy as np

from openood_multimodal.evaluators.outputs import SetScores, scores_digest
from openood_multimodal.evaluators.sets import evaluate_sets
from openood_multimodal.files import file_sha256
from openood_multimodal.pipelines.submission import SUMS, verify_folder

OOD = "synthetic_near"


def sign(folder):
    """Write the list of files again, as somebody who forges results would."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines))


def record_path(folder):
    return folder / "records" / f"knn@{OOD}.record.json"


def edit(folder, change):
    """Change a record's fields by a function of them, and sign."""
    fields = json.loads(record_path(folder).read_text())
    change(fields)
    record_path(folder).write_text(json.dumps(fields))
    sign(folder)


def rescore(folder, change, consistent=True):
    """Change the scores, ``(id, ood) -> (id, ood)``; by ``consistent`` the record's counts, digest and metrics, too."""
    files = [folder / "scores" / "knn" / f"{name}.npz" for name in ("id", OOD)]
    known, unknown = change(*(SetScores(**np.load(file)) for file in files))
    for file, scores in zip(files, (known, unknown), strict=True):
        np.savez(file, **scores._asdict())

    def agree(fields):
        found = evaluate_sets(known, {OOD: unknown}, failure=True)
        fields["metrics"] = {name: metric.as_dict() for name, metric in found["average"][OOD].items()}
        fields["failure"] = found.failure[OOD].as_dict()
        fields |= {"n_id": len(known.conf), "n_ood": len(unknown.conf)}
        fields["digests"]["scores"] = scores_digest(known, unknown)

    edit(folder, agree if consistent else lambda fields: None)


def refusal(folder):
    """The only reason for which a submission is refused, and its message."""
    refused = [each for each in verify_folder(folder) if each.reason]
    assert len(refused) == 1, [(each.reason, each.message) for each in refused]
    return refused[0].reason, refused[0].message


def tiers(folder):
    found = verify_folder(folder)
    assert not [each.message for each in found if each.reason]
    return {each.record.postprocessor: each.tier for each in found}


def swap_conventions(fields):
    metrics = fields["metrics"]
    metrics["FPR@95"], metrics["FPR@95_ID_TPR"] = metrics["FPR@95_ID_TPR"], metrics["FPR@95"]


def better(fields):
    for name in ("value", "ci_high"):
        fields["metrics"]["AUROC"][name] = min(1.0, fields["metrics"]["AUROC"][name] + 1e-6)
