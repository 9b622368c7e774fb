import csv
import logging

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.errors import UserError
from openood_multimodal.evaluators import (
    MultimodalOODEvaluator,
    OODResult,
    compute_ood_metrics,
    mean_metrics,
    write_results_csv,
)
from openood_multimodal.registry import EVALUATORS


class Samples(torch.utils.data.Dataset):
    def __init__(self, n, shift, seed, labels=3):
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(n, 4, generator=generator) + shift
        self.y = torch.arange(n) % labels

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return {"data": ModalityBatch({"a": self.x[i, :2], "b": self.x[i, 2:]}), "label": self.y[i]}


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, data):
        assert not self.training
        return self.fc(torch.cat(list(data.values()), dim=1))


class MaxLogit:
    """What OpenOOD's postprocessors offer, and a parameter to search."""

    name = "maxlogit"

    def __init__(self, args_dict=None):
        self.sign = 1
        self.seen = []
        if args_dict is not None:
            self.args_dict = args_dict

    def set_hyperparam(self, values):
        self.sign, self.settings = values[0], list(values)

    def inference(self, net, loader, progress=True):
        self.seen.append(len(loader.dataset))
        logits = torch.cat([net(batch["data"]) for batch in loader]).detach()
        labels = torch.cat([batch["label"] for batch in loader])
        conf, pred = logits.max(dim=1)
        return pred.numpy(), self.sign * conf.numpy(), labels.numpy()


def loader(n, shift=0.0, seed=0):
    return DataLoader(Samples(n, shift, seed), batch_size=7)


def id_loaders():
    return {"train": loader(30), "val": loader(25, 1.0, 1), "test": loader(40, 1.0, 2)}


def near():
    return {"nearood": {"one": loader(20, 0.0, 3), "two": loader(33, -1.0, 4)}}


def config(tmp_path, name="near_ood", **sections):
    return {"output_dir": str(tmp_path), "evaluator": {"name": name}, **sections}


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_registered_under_two_names():
    assert EVALUATORS.get("near_ood") is EVALUATORS.get("far_ood") is MultimodalOODEvaluator


def test_unknown_name(tmp_path):
    with pytest.raises(UserError, match=r"'near_odd'\. Did you mean 'near_ood'"):
        MultimodalOODEvaluator(config(tmp_path, "near_odd"))


def test_accuracy_without_a_postprocessor_is_openood_s(tmp_path, capsys):
    net, data = Net(), loader(40, 1.0, 2)
    got = MultimodalOODEvaluator(config(tmp_path)).eval_acc(net, data, None, 5)
    losses, hits = [], 0
    for batch in data:
        logits = net(batch["data"])
        losses.append(cross_entropy(logits, batch["label"]).item())
        hits += (logits.argmax(1) == batch["label"]).sum().item()
    assert got == {"epoch_idx": 5, "acc": hits / 40, "loss": pytest.approx(np.mean(losses))}
    assert capsys.readouterr() == ("", "")
    assert not net.training


def test_accuracy_with_a_postprocessor(tmp_path):
    evaluator, net = MultimodalOODEvaluator(config(tmp_path)), Net()
    plain = evaluator.eval_acc(net, loader(40, 1.0, 2))
    got = evaluator.eval_acc(net, loader(40, 1.0, 2), MaxLogit())
    assert got == {"epoch_idx": -1, "acc": plain["acc"]}
    both = evaluator.eval_acc(
        net, loader(40, 1.0, 2), MaxLogit(), fsood=True, csid_data_loaders={"x": loader(20, 0.0, 9)}
    )
    shifted = evaluator.eval_acc(net, loader(20, 0.0, 9))
    assert both["acc"] == pytest.approx((40 * plain["acc"] + 20 * shifted["acc"]) / 60)


def test_near(tmp_path):
    net, score = Net(), MaxLogit()
    got = MultimodalOODEvaluator(config(tmp_path)).eval_ood(net, id_loaders(), near(), score)
    assert isinstance(got, OODResult)
    assert list(got) == ["nearood"]
    assert list(got["nearood"]) == ["one", "two"]
    assert (got.n_id, got.n_ood, got.postprocessor) == (40, {"one": 20, "two": 33}, "maxlogit")
    assert got.hyperparameters is None

    pred, conf, label = score.inference(net, id_loaders()["test"])
    for name, data in near()["nearood"].items():
        _, conf_ood, _ = score.inference(net, data)
        assert got["nearood"][name] == compute_ood_metrics(conf, conf_ood, pred, label)
        with np.load(tmp_path / "scores" / "maxlogit" / f"{name}.npz", allow_pickle=False) as saved:
            assert sorted(saved) == ["conf", "label", "pred"]
            np.testing.assert_array_equal(saved["conf"], conf_ood)
            assert (saved["label"] == -1).all()
    with np.load(tmp_path / "scores" / "maxlogit" / "id.npz", allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved["pred"], pred)
        np.testing.assert_array_equal(saved["label"], label)
    assert got.means["nearood"] == mean_metrics(list(got["nearood"].values()))

    lines = (tmp_path / "maxlogit" / "ood.csv").read_text().splitlines()
    assert lines[0] == "dataset,FPR@95,AUROC,AUPR_IN,AUPR_OUT,ACC"
    rows = read_csv(tmp_path / "maxlogit" / "ood.csv")
    assert [row["dataset"] for row in rows] == ["one", "two", "nearood"]
    for row, metrics in zip(rows, [*got["nearood"].values(), got.means["nearood"]], strict=True):
        for name in ("FPR@95", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC"):
            assert row[name] == f"{100 * metrics[name].value:.2f}"


def test_a_second_run_replaces(tmp_path):
    evaluator = MultimodalOODEvaluator(config(tmp_path))

    def files():
        return {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    evaluator.eval_ood(Net(), id_loaders(), near(), MaxLogit())
    first = files()
    evaluator.eval_ood(Net(), id_loaders(), near(), MaxLogit())
    assert files() == first


def test_far_only(tmp_path):
    evaluator = MultimodalOODEvaluator(config(tmp_path, "far_ood"))
    far = {"farood": {"away": loader(20, 9.0, 3)}}
    assert list(evaluator.eval_ood(Net(), id_loaders(), far, MaxLogit())) == ["farood"]
    assert [r["dataset"] for r in read_csv(tmp_path / "maxlogit" / "ood.csv")] == ["away", "farood"]
    both = {**near(), **far}
    assert list(evaluator.eval_ood(Net(), id_loaders(), both, MaxLogit())) == ["farood"]


@pytest.mark.parametrize(
    ("ood", "message"),
    [
        ({"farood": {"away": 1}}, "near_ood' asks for nearood.*use evaluator.name: far_ood"),
        ({"nearood": {}}, r"add an OOD set under ood_dataset\.nearood"),
        ({"nearood": {"id": 1}}, "can't be called 'id'"),
        ({"nearood": {"nearood": 1}}, "can't be called 'nearood'"),
        ({"nearood": {"../x": 1}}, "can't be a file name"),
        ({"nearood": {".x": 1}}, "can't be a file name"),
    ],
)
def test_groups_are_checked_before_anything_runs(tmp_path, ood, message):
    score = MaxLogit()
    with pytest.raises(UserError, match=message):
        MultimodalOODEvaluator(config(tmp_path)).eval_ood(Net(), id_loaders(), ood, score)
    assert not score.seen
    assert not list(tmp_path.iterdir())


def test_missing_test_set(tmp_path):
    with pytest.raises(UserError, match="no 'test' set"):
        MultimodalOODEvaluator(config(tmp_path)).eval_ood(Net(), {"val": loader(3)}, near(), MaxLogit())


def test_empty_set_and_empty_loader(tmp_path):
    evaluator = MultimodalOODEvaluator(config(tmp_path))
    empty = DataLoader(Samples(0, 0.0, 0))
    with pytest.raises(UserError, match="'one' is empty"):
        evaluator.eval_ood(Net(), id_loaders(), {"nearood": {"one": empty}}, MaxLogit())
    with pytest.raises(UserError, match="loader is empty"):
        evaluator.eval_acc(Net(), empty)


def test_nan_names_the_set(tmp_path):
    class Broken(MaxLogit):
        def inference(self, net, loader, progress=True):
            pred, conf, label = super().inference(net, loader)
            conf[4] = np.nan if len(conf) == 33 else conf[4]
            return pred, conf, label

    with pytest.raises(UserError, match=r"Broken gave NaN for 1 of 33 samples of 'two', the first in row 4"):
        MultimodalOODEvaluator(config(tmp_path)).eval_ood(Net(), id_loaders(), near(), Broken())


def test_lengths_that_differ(tmp_path):
    class Short(MaxLogit):
        def inference(self, net, loader, progress=True):
            pred, conf, label = super().inference(net, loader)
            return pred[1:], conf, label

    with pytest.raises(UserError, match=r"Short\.inference must return"):
        MultimodalOODEvaluator(config(tmp_path)).eval_ood(Net(), id_loaders(), near(), Short())


def test_switches(tmp_path):
    off = {"save_scores": False, "save_csv": False}
    evaluator = MultimodalOODEvaluator(config(tmp_path, recorder=off))
    evaluator.config["evaluator"].update(intervals=False)
    got = evaluator.eval_ood(Net(), id_loaders(), near(), MaxLogit())
    assert not list(tmp_path.iterdir())
    assert got["nearood"]["one"]["AUROC"].ci_low is None


def test_seed_and_resamples_are_taken_from_the_config(tmp_path):
    def bounds(seed, n):
        made = config(tmp_path, seed=seed)
        made["evaluator"]["n_bootstrap"] = n
        result = MultimodalOODEvaluator(made).eval_ood(Net(), id_loaders(), near(), MaxLogit())
        return result["nearood"]["one"]["AUPR_IN"]

    assert bounds(0, 50) == bounds(0, 50)
    assert bounds(0, 50) != bounds(1, 50)
    assert bounds(0, 50) != bounds(0, 60)


def test_name_from_the_config(tmp_path):
    class Nameless(MaxLogit):
        name = None

    with pytest.raises(UserError, match=r"set postprocessor\.name"):
        MultimodalOODEvaluator(config(tmp_path)).eval_ood(Net(), id_loaders(), near(), Nameless())
    named = MultimodalOODEvaluator(config(tmp_path, postprocessor={"name": "mls"}))
    assert named.eval_ood(Net(), id_loaders(), near(), Nameless()).postprocessor == "mls"


def test_full_spectrum_counts_csid_as_id(tmp_path):
    ood = {**near(), "csid": {"shifted": loader(10, 0.5, 6)}}
    evaluator = MultimodalOODEvaluator(config(tmp_path))
    result = evaluator.eval_ood(Net(), id_loaders(), ood, MaxLogit(), fsood=True)
    assert result.n_id == 50
    everywhere = evaluator.eval_acc(Net(), id_loaders()["test"], MaxLogit(), -1, True, ood["csid"])["acc"]
    assert result["nearood"]["one"]["ACC"].value == pytest.approx(everywhere)
    of_each = {name: evaluator.eval_acc(Net(), each, MaxLogit())["acc"]
               for name, each in {"id": id_loaders()["test"], **ood["csid"]}.items()}  # fmt: skip
    assert result.accuracy == of_each
    assert result.csid_notes()[0].startswith("full spectrum: ID includes shifted")
    with np.load(tmp_path / "scores" / "maxlogit" / "shifted.npz", allow_pickle=False) as saved:
        assert (saved["label"] >= 0).all()


def aps(tmp_path):
    return MultimodalOODEvaluator(config(tmp_path, postprocessor={"APS_mode": True, "name": "x"}))


def test_search_takes_the_best_on_validation_and_never_sees_test_ood(tmp_path):
    score = MaxLogit({"sign": [-1, 1], "other": [5]})
    ood = {**near(), "val": loader(11, -2.0, 8)}
    net = Net()
    one, two = (MaxLogit() for _ in range(2))
    one.sign, two.sign = -1, 1
    got = aps(tmp_path).eval_ood(net, id_loaders(), ood, score)
    assert score.seen[:4] == [25, 11, 25, 11]
    assert score.seen[4:] == [40, 20, 33]

    from openood_multimodal.evaluators import auroc

    by_sign = {
        each.sign: auroc(each.inference(net, id_loaders()["val"])[1], each.inference(net, ood["val"])[1])
        for each in (one, two)
    }
    best = max(by_sign, key=by_sign.get)
    assert by_sign[1] != by_sign[-1]
    assert got.hyperparameters == {"sign": best, "other": 5}
    assert score.sign == best
    value = aps(tmp_path).eval_ood_val(net, id_loaders(), ood, score)
    assert value == {"auroc": pytest.approx(100 * by_sign[best])}


def test_first_of_tied_settings_wins_and_it_says_so(tmp_path, caplog):
    score = MaxLogit({"sign": [1, 2], "other": ["a", "b"]})  # scaling changes no rank: all four tie
    ood = {**near(), "val": {"x": loader(11, -2.0, 8), "y": loader(5, 3.0, 9)}}
    with caplog.at_level(logging.WARNING):
        got = aps(tmp_path).eval_ood(Net(), id_loaders(), ood, score)
    assert got.hyperparameters == {"sign": 1, "other": "a"}
    assert score.settings == [1, "a"]
    assert "4 settings tie" in caplog.text
    assert "'sign': 2, 'other': 'b'" in caplog.text


def test_settings_come_in_openood_s_order():
    from openood_multimodal.postprocessors.sweeps import settings

    assert list(settings([[1, 2], ["a", "b"]])) == [[1, "a"], [2, "a"], [1, "b"], [2, "b"]]
    assert list(settings([[1, 2]])) == [[1], [2]]


@pytest.mark.parametrize("args_dict", [None, {}])
def test_nothing_to_search(tmp_path, args_dict):
    ood = {**near(), "val": loader(5)}
    with pytest.raises(UserError, match="MaxLogit has no args_dict, so there is nothing to search"):
        aps(tmp_path).eval_ood(Net(), id_loaders(), ood, MaxLogit(args_dict))


def test_search_without_ood_validation_data(tmp_path):
    score = MaxLogit({"sign": [1, -1]})
    with pytest.raises(UserError, match=r"no OOD validation set.*never chosen on test data"):
        aps(tmp_path).eval_ood(Net(), id_loaders(), near(), score)
    assert not score.seen


def test_report(tmp_path, capsys):
    evaluator = MultimodalOODEvaluator(config(tmp_path))
    result = evaluator.eval_ood(Net(), id_loaders(), near(), MaxLogit())
    assert capsys.readouterr().out == ""
    evaluator.report(result)
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 3
    assert f"AUROC {100 * result['nearood']['one']['AUROC'].value:.2f}" in out[0]
    evaluator.report({"acc": 0.5})
    assert capsys.readouterr().out == "Accuracy 50.00%\n"


def test_results_csv(tmp_path):
    result = MultimodalOODEvaluator(config(tmp_path)).eval_ood(Net(), id_loaders(), near(), MaxLogit())
    fractions = dict.fromkeys(("FPR@95", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC"), 0.12345)
    path = tmp_path / "results.csv"
    write_results_csv(path, [*result.rows(), {"postprocessor": "p", "dataset": "d", **fractions, "more": 1}])
    rows = read_csv(path)
    assert list(rows[0]) == ["postprocessor", "dataset", "FPR@95", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC"]
    assert [row["dataset"] for row in rows] == ["one", "two", "nearood", "d"]
    assert rows[-1]["AUROC"] == "12.35" or rows[-1]["AUROC"] == "12.34"
    with pytest.raises(UserError, match="lacks ACC"):
        write_results_csv(
            path,
            [{k: v for k, v in {**fractions, "postprocessor": "p", "dataset": "d"}.items() if k != "ACC"}],
        )
    assert read_csv(path) == rows


def test_the_search_leaves_out_what_does_not_go_with_the_data(tmp_path):
    postprocessor = MaxLogit({"K_list": [-1, 1, 50]})
    postprocessor.limits, postprocessor.notes = {"K": 10}, []
    ood = {**near(), "val": loader(11, -2.0, 8)}
    aps(tmp_path).eval_ood(Net(), id_loaders(), ood, postprocessor)
    assert postprocessor.args_dict == {"K_list": [-1, 1]}
    assert postprocessor.notes == ["maxlogit: K = 50 of the sweep not tried; at most 10 is possible here"]
