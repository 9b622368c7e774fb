"""Metrics on clips whose recording was not in training."""

import numpy as np
import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.evaluators import MultimodalOODEvaluator
from openood_multimodal.evaluators.metrics import compute_ood_metrics
from openood_multimodal.evaluators.recordings import MIN_CLIPS, unseen_rows, unseen_sets


class Net:
    def eval(self):
        return self


class Given:
    """A postprocessor that hands out what its loaders hold."""

    name = "given"

    def inference(self, net, loader, progress=True):
        return loader.pred, loader.conf, loader.label


class Loader:
    def __init__(self, conf, label, pred):
        self.conf, self.label, self.pred = conf, label, pred

    def __len__(self):
        return len(self.conf)


def make(n_id, n_ood):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, n_id)
    pred = np.where(rng.random(n_id) < 0.7, label, (label + 1) % 3)
    known = Loader(rng.normal(1, 1, n_id), label, pred)
    return known, Loader(rng.normal(0, 1, n_ood), np.full(n_ood, -1), rng.integers(0, 3, n_ood))


def evaluate(tmp_path, known, unknown, unseen):
    config = {
        "output_dir": str(tmp_path),
        "evaluator": {"name": "near_ood", "intervals": False},
        "recorder": {"save_scores": False, "save_csv": False},
    }
    evaluator = MultimodalOODEvaluator(config)
    evaluator.unseen = unseen
    return evaluator.eval_ood(Net(), {"test": known}, {"nearood": {"other": unknown}}, Given())


def test_rows_of_unseen_recordings():
    assert unseen_rows(["a", "b", "c", "a"], {"a", "c"}).tolist() == [False, True, False, False]
    assert unseen_rows(["a"], {"b"}).tolist() == [True]


@pytest.mark.parametrize(("rows", "training"), [(["a", ""], {"a"}), (["a"], {"a", ""}), (["a"], set())])
def test_an_unknown_recording_tells_nothing(rows, training):
    assert unseen_rows(rows, training) is None
    assert unseen_sets({"id": rows, "other": ["z"]}, training).keys() <= {"other"}


def test_metrics_on_unseen_recordings_are_those_of_these_rows(tmp_path):
    known, unknown = make(200, 150)
    rows, others = np.arange(200) % 3 > 0, np.arange(150) % 2 == 0
    result = evaluate(tmp_path, known, unknown, {"id": rows, "other": others})
    expected = compute_ood_metrics(
        known.conf[rows], unknown.conf[others], known.pred[rows], known.label[rows], intervals=False
    )
    found = result.unseen["other"]
    assert (found.n_id, found.n_ood) == (int(rows.sum()), 75)
    assert found.metrics == expected
    assert found.metrics != result["nearood"]["other"]


def test_nothing_seen_gives_the_same_metrics(tmp_path):
    known, unknown = make(20, 30)  # fewer than MIN_CLIPS, but they are all there are
    result = evaluate(tmp_path, known, unknown, {"id": np.ones(20, bool), "other": np.ones(30, bool)})
    assert result.unseen["other"].metrics == result["nearood"]["other"]


def test_too_few_clips_give_counts_only(tmp_path):
    known, unknown = make(200, 200)
    few = np.arange(200) < MIN_CLIPS - 1
    result = evaluate(tmp_path, known, unknown, {"id": few, "other": np.ones(200, bool)})
    assert result.unseen["other"].as_dict() == {"metrics": None, "n_id": MIN_CLIPS - 1, "n_ood": 200}
    enough = np.arange(200) < MIN_CLIPS
    result = evaluate(tmp_path, known, unknown, {"id": enough, "other": np.ones(200, bool)})
    assert result.unseen["other"].metrics is not None


def test_a_mask_of_other_clips_is_refused(tmp_path):
    known, unknown = make(60, 60)
    with pytest.raises(UserError, match=r"'id' has 60 scores.*59 flags"):
        evaluate(tmp_path, known, unknown, {"id": np.ones(59, bool), "other": np.ones(60, bool)})


def test_without_recordings_nothing_is_reported(tmp_path):
    assert evaluate(tmp_path, *make(60, 60), {}).unseen == {}
