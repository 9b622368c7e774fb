"""Which OpenOOD it is, and what its FPR@95 means."""

import subprocess

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from openood_multimodal.plugin.version import FPR_MEANINGS, fpr95_meaning, openood_version


def _id_positive(conf, label, pred):
    false_alarms, recall, _ = roc_curve(label != -1, conf)
    return [false_alarms[np.argmax(recall >= 0.95)], 0.0]


def _ood_positive(conf, label, pred):
    false_alarms, recall, _ = roc_curve(label == -1, -conf)
    return [false_alarms[np.argmax(recall >= 0.95)], 0.0]


@pytest.mark.parametrize(
    ("metrics", "meaning"),
    [(_id_positive, "id"), (_ood_positive, "ood"), (lambda *_: [0.5], "unknown"), (lambda: [], "unknown")],
)
def test_its_metrics_are_asked_what_they_mean(metrics, meaning):
    assert fpr95_meaning(metrics) == meaning
    assert meaning in FPR_MEANINGS


def _git(folder, *words):
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, "-C", str(folder), *words], check=True, capture_output=True)


def test_a_checkout_is_named_by_git(tmp_path):
    _git(tmp_path, "init")
    (tmp_path / "file").write_text("a")
    _git(tmp_path, "add", "file")
    _git(tmp_path, "commit", "-m", "first")
    _git(tmp_path, "tag", "v9.9")
    found = openood_version(tmp_path)
    assert (found.name, found.modified, str(found)) == ("v9.9", False, "v9.9")
    assert len(str(found.commit)) == 40
    (tmp_path / "new").write_text("not tracked")
    assert not openood_version(tmp_path).modified
    (tmp_path / "file").write_text("b")
    assert str(openood_version(tmp_path)) == "v9.9, modified"


def test_a_copy_inside_another_repository_has_not_its_version(tmp_path):
    _git(tmp_path, "init")
    inner = tmp_path / "OpenOOD"
    inner.mkdir()
    assert openood_version(inner).name == "unknown version"
