"""Bad input: one clear line, exit code 2, no traceback."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from openood_multimodal.resources import benchmark_splits_dir


def refused(done, *parts):
    assert done.code == 2, done
    assert done.err.startswith("openood-mm: "), done.err
    assert len(done.err.splitlines()) == 1, done.err
    assert "Traceback" not in done.err
    for part in parts:
        assert part in done.err, done.err


TRAINING = {  # what is wrong → (trainer, overrides, what the message must say)
    "typo in a key": ("a2d", ["--trainer.gama", "1"], "Did you mean 'trainer.gamma'?"),
    "value of another type": ("a2d", ["--trainer.gamma", "much"], "--trainer.gamma much"),
    "unknown trainer": ("a2d", ["--trainer.name", "a2dd"], "Did you mean 'a2d'?"),
    "unknown discrepancy": ("a2d", ["--trainer.discrepancy", "helinger"], "Did you mean 'hellinger'?"),
    "unknown protocol": ("a2d", ["--trainer.protocol", "multiood-cod"], "Did you mean 'multiood-code'?"),
    "unknown synthesis": ("a2d_npmix", ["--trainer.synthesis", "npmx"], "Did you mean 'npmix'?"),
    "bad synthesis argument": ("a2d_npmix", ["--trainer.synthesis_args.alpha", "0"], "alpha > 0"),
    "empty bank": ("a2d_npmix", ["--trainer.bank_size", "0"], "trainer.bank_size is 0"),
    "bad temperature": ("a2d_logitnorm", ["--trainer.tau", "0"], "trainer.tau is 0.0"),
    "one modality": ("a2d", ["--dataset.modalities", "a"], "at least 2"),
    "missing modality": ("a2d", ["--dataset.modalities", "a,z"], "no modality 'z'"),
    "no modality": ("a2d", ["--dataset.modalities", "[]"], "no modality chosen"),
    "modality twice": ("a2d", ["--dataset.modalities", "a,a"], "twice"),
    "missing partition": ("a2d", ["--dataset.partition", "99"], "has no partition 99; it has 8"),
    "wrong number of classes": ("a2d", ["--dataset.num_classes", "5"], "Set num_classes: 6"),
    "unknown dataset class": (
        "a2d",
        ["--dataset.train.dataset_class", "Tabular"],
        "there is no dataset called",
    ),
    "unknown benchmark": ("a2d", ["--dataset.benchmark", "synthetic_fra"], "Did you mean 'synthetic_far'?"),
    "no validation split": ("a2d", ["--dataset.split_names", "train,test"], "training needs train and val"),
    "unknown split": ("a2d", ["--dataset.split_names", "train,val,tset"], "tset"),
    "batch larger than the set": (
        "a2d",
        ["--dataset.train.batch_size", "421"],
        "fewer than one batch of 421",
    ),
    "empty batch": ("a2d", ["--dataset.val.batch_size", "0"], "dataset.val.batch_size is 0"),
    "negative workers": ("a2d", ["--dataset.num_workers", "-1"], "dataset.num_workers is -1"),
    "negative seed": ("a2d", ["--seed", "-1"], "seed is -1"),
    "negative learning rate": ("a2d", ["--optimizer.lr", "-0.1"], "optimizer.lr is -0.1"),
    "no epochs": ("a2d", ["--optimizer.num_epochs", "0"], "optimizer.num_epochs is 0"),
    "unknown optimiser": ("a2d", ["--optimizer.name", "adm"], "Did you mean 'adam'?"),
    "no width": ("a2d", ["--network.hidden_dim", "0"], "hidden_dim >= 1"),
    "unknown network": ("a2d", ["--network.name", "mlp_fuson"], "Did you mean 'mlp_fusion'?"),
    "unknown evaluator": ("a2d", ["--evaluator.name", "near_odd"], "Did you mean 'near_ood'?"),
    "unknown preprocessor": ("a2d", ["--preprocessor.name", "multimodal_noize"], "Did you mean"),
    "unknown pipeline": ("a2d", ["--pipeline.name", "multimodal_trian"], "Did you mean 'multimodal_train'?"),
    "diverging": ("a2d", ["--optimizer.lr", "1.0e+30"], "training diverged. Lower optimizer.lr (now 1e+30)"),
    "weight that is no number": ("a2d", ["--trainer.gamma", "nan"], "trainer.gamma is nan"),
    "one word too many": ("a2d", ["--seed", "1", "2"], "--seed 1 2"),
}


@pytest.mark.parametrize("case", TRAINING)
def test_training(tiny, cli, case):
    training, words, message = TRAINING[case]
    refused(cli(tiny.train(training, *words)), message)
    assert not list(tiny.folder.rglob("*.ckpt"))


FILES = {
    "unknown parameter": ("trainer: {gamma: 1.0, gama: 2.0}", "trainer.gama is not a parameter of a2d"),
    "section that is a value": ("trainer: a2d", "trainer must be a section"),
    "missing section": ("evaluator: _DELETE_CONFIG_", "evaluator must be a section"),
    "seed that is text": ("seed: zero", "seed is 'zero'"),
    "interval that is text": ("recorder: {state_interval: often}", "recorder.state_interval is 'often'"),
    "seconds below none": ("recorder: {state_seconds: -1}", "recorder.state_seconds is -1"),
    "scientific notation without a point": ("optimizer: {weight_decay: 1e-4}", "write 1.0e-4"),
    "bad YAML": ("trainer: [a2d", "line"),
    "same key twice": ("seed: 1\nseed: 2", "set twice"),
    "reference to nothing": ("seed: '@{sede}'", "sede"),
}


@pytest.mark.parametrize("case", FILES)
def test_config_file(tiny, cli, case):
    text, message = FILES[case]
    path = tiny.folder / "own.yml"
    path.write_text(text + "\n")
    refused(cli(tiny.train("a2d", files=(str(path),))), message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "datasets/htad/htad43.yml"], "Did you mean 'datasets/htad/htad_4_3.yml'?"),
        (
            ["--config", "datasets/synthetic/synthetic_far.yml"],
            "nothing sets 'num_workers'. Configs of pipelines do",
        ),
        (["--config", "pipelines/train/a2d.yml"], "nothing sets"),
        (["--config", "networks/mlp_fusion.txt"], "ends in .yml"),
    ],
)
def test_config_names(cli, words, message):
    refused(cli(["run", *words]), message)


TESTS = {
    "no checkpoint": (["--network.checkpoint", ""], "network.checkpoint is empty"),
    "missing checkpoint": (["--network.checkpoint", "nowhere/best.ckpt"], "there is no checkpoint"),
    "random network": (["--network.pretrained", "false"], "network.pretrained is off"),
    "another width": (["--network.embedding_dim", "7"], "is a checkpoint of another network"),
    "other modalities": (["--dataset.modalities", "a"], "is a checkpoint of another network"),
    "other order": (["--dataset.modalities", "b,a", "--network.modalities", "a,b"], "['a', 'b'] there"),
    "another partition": (["--dataset.partition", "1"], "partition 0 there, 1 here"),
    "unknown score": (["--postprocessors", "msp,mpss"], "there is no postprocessor called 'mpss'"),
    "no score": (["--postprocessors", "[]"], "names no score"),
    "parameter of a score that is not run": (["--postprocessor_args", "{knn: {K: 3}}"], "which is not run"),
    "unknown parameter of a score": (
        ["--postprocessors", "knn", "--postprocessor_args", "{knn: {k: 3}}"],
        "knn.k is not a parameter",
    ),
    "unknown preset": (["--preset", "multood"], "Did you mean 'multiood'?"),
    "unknown engine": (["--engine", "nativ"], "Did you mean 'native'?"),
    "fitting on the test set": (["--fit_on", "test"], "fit_on is 'test'"),
    "ViM without room": (["--postprocessors", "vim"], "vim.dim"),
    "no test split": (["--dataset.split_names", "train,val"], "no 'test' set"),
    "no train split": (["--dataset.split_names", "val,test"], "fit_on is 'train'"),
    "unknown evaluator": (["--evaluator.name", "near"], "there is no evaluator called 'near'"),
}


@pytest.mark.parametrize("case", TESTS)
def test_testing(tiny, trained, cli, case):
    words, message = TESTS[case]
    refused(cli(tiny.test(*words, checkpoint=trained / "best.ckpt")), message)
    assert not list(tiny.folder.rglob("*.record.json"))


def test_missing_ood_file(tiny, trained, cli):
    words = tiny.test(checkpoint=trained / "best.ckpt")
    words.remove("datasets/synthetic/synthetic_far_ood.yml")
    refused(cli(words), "has no section ood_dataset")


@pytest.mark.parametrize("data", ["htad", "mfeat"])
def test_far_sets_that_a_benchmark_lacks(tiny, cli, data):
    assert cli(tiny.train("multimodal_baseline", "--optimizer.num_epochs", "1", data=data)).code == 0
    refused(
        cli(tiny.test(data=data, evaluator="far_ood")), "needs farood sets", "pipelines/test/near_ood.yml"
    )
    assert not (tiny.folder / "test" / "embeddings").exists()  # noticed before anything is extracted


def damaged(kind, good):
    if kind == "bytes flipped":
        content = bytearray(good)
        for place in range(100, len(content), 97):
            content[place] ^= 0x5A
        return bytes(content)
    return {
        "empty": b"",
        "cut short": good[: len(good) // 2],
        "text": b"hello\nworld",
        "zeros": bytes(1000),
        "pickle with code": b"cos\nsystem\n(S'true'\ntR.",
        "pickle with bad text": b"\x80\x02}q\x00X\x02\x00\x00\x00\xff\xfeK\x01s.",
    }[kind]


DAMAGES = ["empty", "cut short", "bytes flipped", "text", "zeros", "pickle with code", "pickle with bad text"]


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_checkpoint_and_state(tiny, trained, cli, kind):
    run = shutil.copytree(trained, tiny.folder / "run")
    (run / "best.ckpt").write_bytes(damaged(kind, (run / "best.ckpt").read_bytes()))
    refused(cli(tiny.test()), "best.ckpt", "damaged")
    (run / "state.pt").write_bytes(damaged(kind, (run / "state.pt").read_bytes()))
    refused(cli(tiny.train()), "state.pt", "damaged", "Delete it")


@pytest.mark.parametrize("content", [[1], {"a": 1}, {1: torch.ones(1)}, torch.ones(2)], ids=str)
def test_files_of_torch_that_are_no_checkpoint_or_state(tiny, trained, cli, content):
    run = shutil.copytree(trained, tiny.folder / "run")
    torch.save(content, run / "best.ckpt")
    refused(cli(tiny.test()), "holds no state dict")
    torch.save(content, run / "state.pt")
    refused(cli(tiny.train()), "is no state of a training")
    refused(cli(tiny.test(checkpoint=trained / "state.pt")), "holds no state dict", "for resuming only")


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", '{"epoch": 1}', "\x00", "null"])
def test_damaged_card(tiny, trained, cli, content):
    run = shutil.copytree(trained, tiny.folder / "run")
    (run / "best.json").write_text(content)
    refused(cli(tiny.test()), "best.json", "checkpoint card")


def test_card_of_another_checkpoint(tiny, trained, cli):
    run = shutil.copytree(trained, tiny.folder / "run")
    content = json.loads((run / "best.json").read_text())
    (run / "best.json").write_text(json.dumps({**content, "checkpoint_digest": "0" * 64}))
    refused(cli(tiny.test()), "best.json", "has changed since it was written")
    del content["sha256"]  # as older versions wrote it
    (run / "best.json").write_text(json.dumps({**content, "checkpoint_digest": "0" * 64}))
    refused(cli(tiny.test()), "its SHA-256 differs")


def test_store_of_another_checkpoint(tiny, cli):
    cli(tiny.train("a2d"))
    assert cli(tiny.test()).code == 0
    cli(tiny.train("a2d", "--optimizer.lr", "0.02", "--overwrite", "true"))
    refused(cli(tiny.test()), "embeddings", "was made from another checkpoint", "Delete the folder")


def test_checkpoint_with_nan(tiny, trained, cli):
    state = torch.load(trained / "best.ckpt", weights_only=True)
    state["fc.bias"][0] = float("nan")
    torch.save(state, tiny.folder / "nan.ckpt")
    refused(cli(tiny.test(checkpoint=tiny.folder / "nan.ckpt")), "not finite", "the network's weights")


def own_table(folder, cell="0.5", label="0"):
    """Data of one's own: 30 rows, two modalities; the cell and label of row 5 as given."""
    random = np.random.default_rng(0)
    values = [[f"{v:.4f}" for v in row] for row in random.normal(size=(30, 5))]
    values[5][3] = cell
    (folder / "rows.csv").write_text("a1,a2,a3,b1,b2\n" + "".join(",".join(row) + "\n" for row in values))
    lines = ["clip,label,class_name,group,a,b,start,stop"]
    for row in range(30):
        number = label if row == 5 else str(row % 3)
        lines.append(f"clip{row},{number},class {number},,rows.csv#{row},rows.csv#{row},,")
    (folder / "own.csv").write_text("\n".join(lines) + "\n")
    split = {
        "data_dir": "",
        "imglist_pth": {"manifest": str(folder / "own.csv"), "columns": {"a": ["a*"], "b": ["b*"]}},
        "dataset_class": "MultimodalTabularDataset",
        "batch_size": 10,
        "shuffle": True,
    }
    config = {
        "dataset": {
            "name": "own",
            "num_classes": 3,
            "modalities": ["a", "b"],
            "input_dims": {"a": 3, "b": 2},
            "num_workers": 0,
            "partition": 0,
            "split_names": ["train", "val"],
            "train": split,
            "val": split,
        }
    }
    (folder / "own.yml").write_text(yaml.safe_dump(config))
    return ["run", "--config", str(folder / "own.yml"), "networks/mlp_fusion.yml", "pipelines/train/a2d.yml"]


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        ({}, None),
        ({"cell": "nan"}, ["rows.csv", "b1"]),
        ({"cell": ""}, ["rows.csv", "b1"]),
        ({"cell": "inf"}, ["rows.csv", "b1"]),
        ({"cell": "1e300"}, ["too large for float32"]),
        ({"label": "3"}, ["own.csv, line 7", "outside the 3 classes"]),
        ({"label": "two"}, ["own.csv, line 7", "'two' is not an integer"]),
    ],
)
def test_own_data(tiny, cli, change, messages):
    words = own_table(tiny.folder, **change)
    words += ["--output_dir", str(tiny.folder), "--optimizer.num_epochs", "1", "--network.hidden_dim", "4"]
    done = cli(words)
    if messages is None:
        assert done.code == 0, done.err
    else:
        refused(done, *messages)


def test_a_class_with_too_few_rows(tiny, cli):
    benchmark = yaml.safe_load((benchmark_splits_dir() / "synthetic_far.yml").read_text())
    benchmark["classes"]["c01"] = 2
    path = tiny.folder / "few.yml"
    path.write_text(yaml.safe_dump(benchmark, sort_keys=False))
    refused(cli(tiny.train("a2d", "--dataset.benchmark", str(path))), "c01", "rows")


def test_nan_in_a_real_table(tiny, cli):
    """A changed copy of HTAD's file; first its digest is refused, then, when accepted, the cell is."""
    tiny.train(data="htad")  # skips where the data is absent
    from importlib.metadata import distribution

    source = next(f for f in distribution("multiviewstacking").files if str(f).endswith("htad.csv"))
    lines = source.locate().read_text().splitlines()
    cells = lines[40].split(",")
    cells[5] = "NaN"
    lines[40] = ",".join(cells)
    (tiny.folder / "htad.csv").write_text("\n".join(lines) + "\n")
    splits = ("train", "val", "test")
    own = tiny.folder / "own.yml"
    parts = {"data_dir": str(tiny.folder)}
    own.write_text(yaml.safe_dump({"dataset": {split: parts for split in splits}}))
    refused(cli(tiny.train("a2d", files=(str(own),), data="htad")), "htad.csv", "accept_changed")
    parts["imglist_pth"] = {"accept_changed": True}
    own.write_text(yaml.safe_dump({"dataset": {split: parts for split in splits}}))
    refused(cli(tiny.train("a2d", files=(str(own),), data="htad")), "htad.csv", "line 41")
