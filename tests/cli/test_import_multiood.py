"""``openood-mm import-multiood``: a folder in the authors' format imports, and the printed command scores it."""

import errno
import json
import shlex

import numpy as np
import pytest
import torch

from openood_multimodal.cli import main

KINDS = ("feature", "output", "label", "pred", "conf")
CLASSES = 4


def network(dim):
    rng = np.random.default_rng(dim)
    return rng.standard_normal((CLASSES, dim)) / np.sqrt(dim), rng.standard_normal(CLASSES)


def save(folder, stem, suffix, count, dim=4352, seed=0):
    """One set as ``test_video_flow*.py`` saves it; ``stem`` and ``suffix`` go around the kind."""
    weight, bias = network(dim)
    rng = np.random.default_rng([seed, len(suffix), count])
    labels = np.arange(count) % CLASSES
    features = np.maximum(weight[labels] * np.sqrt(dim) + rng.standard_normal((count, dim)), 0).astype("f4")
    outputs = (features @ weight.T + bias).astype("f4")
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in zip(
        KINDS, (features, outputs, labels, outputs.argmax(1), outputs.max(1)), strict=True
    ):
        np.save(folder / f"{stem}_{kind}_{suffix}.npy", array)


def near(folder, name="HMDB", tag="a2d_npmix_best_", dim=4352, counts=None):
    counts = counts or {"train": 320, "val": 24, "test": 28, "eval": 32}
    for split, count in counts.items():
        save(folder, f"id_{name}_near_ood", f"{tag}{split}", count, dim)


def checkpoint(path, dim=4352):
    weight, bias = (torch.tensor(each, dtype=torch.float32) for each in network(dim))
    torch.save({"mlp_cls_state_dict": {"enc_net.weight": weight, "enc_net.bias": bias}, "epoch": 7}, path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    code = main(["import-multiood", *map(str, arguments)])
    captured = capsys.readouterr()
    commands = [line for line in captured.out.splitlines() if line.startswith("openood-mm score")]
    return code, captured.out, captured.err, commands


def scored(capsys, command):
    words = shlex.split(command)
    code = main(words[1:])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    path = words[words.index("--out") + 1]
    with open(f"{path}/metrics.json") as file:
        return json.load(file)


def whole_checkpoint(path, video=2304):
    """As the training scripts save it: the fusion head and each modality's own in its recogniser."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = (torch.tensor(each, dtype=torch.float32) for each in network(4352))

    def recogniser(dim):
        return {
            "module.backbone.conv.weight": torch.zeros(2),
            "module.cls_head.fc_cls.weight": torch.randn(CLASSES, dim, generator=generator),
            "module.cls_head.fc_cls.bias": torch.randn(CLASSES, generator=generator),
        }

    state = {"mlp_cls_state_dict": {"enc_net.weight": weight, "enc_net.bias": bias}, "epoch": 7}
    state |= {"model_state_dict": recogniser(video), "model_flow_state_dict": recogniser(4352 - video)}
    torch.save(state, path)
    return state


def test_a_whole_checkpoint_gives_the_modality_heads(folder, capsys):
    near(folder / "HMDB-rgb-flow")
    state = whole_checkpoint(folder / "a.pt")
    code, out, _, commands = run(capsys, "HMDB-rgb-flow", "--out", "in", "--checkpoint", "a.pt")
    assert code == 0
    assert "modality heads: video, flow" in out
    command = [*shlex.split(commands[0]), "--postprocessors", "msp,discrepancy,per_modality(knn,combine=min)"]
    assert {"discrepancy", "per_modality(knn,combine=min)"} <= set(scored(capsys, shlex.join(command)))
    features = np.load(folder / "HMDB-rgb-flow" / "id_HMDB_near_ood_feature_a2d_npmix_best_test.npy")
    predicted = []
    for key, columns in (("model_state_dict", slice(0, 2304)), ("model_flow_state_dict", slice(2304, 4352))):
        head = {name.split(".")[-1]: value for name, value in state[key].items() if "fc_cls" in name}
        logits = (
            torch.from_numpy(features[:, columns]).double() @ head["weight"].double().T
            + head["bias"].double()
        )
        predicted.append(logits.softmax(-1))
    expected = -(predicted[0] - predicted[1]).abs().mean(-1)
    out = shlex.split(commands[0])[shlex.split(commands[0]).index("--out") + 1]
    np.testing.assert_allclose(np.load(f"{out}/scores/discrepancy/id.npz")["conf"], expected, rtol=1e-5)


def test_modality_heads_of_other_columns_are_refused(folder, capsys):
    near(folder / "HMDB-rgb-flow")
    whole_checkpoint(folder / "a.pt", video=2048)
    code, _, err, _ = run(capsys, "HMDB-rgb-flow", "--out", "in", "--checkpoint", "a.pt")
    assert code == 2
    assert "has heads of video:2048, flow:2304, but the columns of 'video' are 0 to 2304" in err


def test_with_a_checkpoint_all_nine_run(folder, capsys):
    near(folder / "HMDB-rgb-flow" / "saved_files")
    checkpoint(folder / "a.pt")
    code, out, err, commands = run(capsys, "HMDB-rgb-flow", "--out", "in", "--checkpoint", "a.pt")
    assert code == 0, err
    assert "head: from checkpoint" in out
    metrics = scored(capsys, *commands)
    meta = metrics.pop("_meta")
    assert list(metrics) == ["msp", "ebo", "mls", "mds", "react", "ash", "gen", "knn", "vim"]
    assert list(metrics["msp"]) == ["hmdb51"]
    assert meta["slices"] == {"video": [0, 2304], "flow": [2304, 4352]}
    assert meta["preset"] == "multiood"
    assert (meta["n_id"], meta["n_ood"], meta["fit_on"]) == (28, {"hmdb51": 32}, "train")


def test_without_a_head_the_saved_outputs_still_score(folder, capsys):
    near(folder / "saved")
    code, out, err, (command,) = run(capsys, "saved", "--out", "in")
    assert code == 0, err
    reason = "least squares needs at least 4353 rows for 4352 features and the bias, and these files have 404"
    assert f"no head: {reason}. vim, react and ash are refused" in out
    assert "--postprocessors msp,ebo,mls,gen,mds,knn " in command
    assert set(scored(capsys, command)) == {"msp", "ebo", "mls", "gen", "mds", "knn", "_meta"}
    words = [w for w in shlex.split(command)[1:] if not w.startswith("msp,")]
    words.remove("--postprocessors")
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "react, ash, vim need the head" in err
    assert reason in err


def test_the_outputs_give_the_same_scores_as_the_authors_formulas(folder, capsys):
    near(folder / "saved")
    _, _, _, (command,) = run(capsys, "saved", "--out", "in")
    scored(capsys, command)
    for which, split in {"id": "test", "hmdb51": "eval"}.items():
        outputs = np.load(folder / "saved" / f"id_HMDB_near_ood_output_a2d_npmix_best_{split}.npy").astype(
            "f8"
        )
        pred = np.load(folder / "saved" / f"id_HMDB_near_ood_pred_a2d_npmix_best_{split}.npy")
        base = folder / "in" / "HMDB_near_a2d_npmix_best" / "results" / "scores"
        with np.load(base / "ebo" / f"{which}.npz") as energy, np.load(base / "mls" / f"{which}.npz") as top:
            np.testing.assert_allclose(energy["conf"], np.log(np.exp(outputs).sum(axis=1)), rtol=1e-9)
            np.testing.assert_array_equal(top["conf"], outputs.max(axis=1))
            np.testing.assert_array_equal(top["pred"], pred)


def test_least_squares_where_the_rows_suffice(folder, capsys):
    near(folder / "saved", dim=20, counts={"train": 60, "val": 20, "test": 20, "eval": 20})
    code, out, err, (command,) = run(capsys, "saved", "--out", "in", "--slices", "video:12,flow:8")
    assert code == 0, err
    assert "head: from least squares" in out
    assert set(scored(capsys, f"{command} --set vim.dim=10")) >= {"vim", "react", "ash"}


def test_three_modalities(folder, capsys):
    near(folder / "saved", "EPIC", "vfa_best_", 4864)
    code, _, err, (command,) = run(capsys, "saved")
    assert code == 0, err
    meta = scored(capsys, command)["_meta"]
    assert list(meta["slices"]) == ["video", "audio", "flow"]
    assert meta["slices"]["audio"] == [2304, 2816]
    assert (folder / "results" / "multiood" / "EPIC_near_vfa_best" / "ood" / "epic_kitchens").is_dir()


def test_far_sets_of_two_folders_and_kinetics_fitted_on_val(folder, capsys):
    one, other = folder / "HMDB-rgb-flow" / "saved_files", folder / "EPIC-rgb-flow" / "saved_files"
    for split in ("val", "test"):
        save(one, "id_Kinetics", f"best_{split}", 30)
    save(one, "id_Kinetics_ood_HMDB", "best_eval", 21)
    save(other, "id_Kinetics_ood_EPIC", "best_eval", 22)
    code, _, err, commands = run(capsys, "EPIC-rgb-flow", "--out", "in")
    assert (code, commands) == (2, [])
    assert "Kinetics_far_best lacks id_Kinetics_feature_best_test.npy" in err
    assert "HMDB-rgb-flow" in err
    assert not (folder / "in").exists()
    code, out, err, (command,) = run(capsys, "HMDB-rgb-flow", "EPIC-rgb-flow", "--out", "in")
    assert code == 0, err
    assert "no train files" in out
    assert "--fit-on val" in command
    metrics = scored(capsys, command)
    assert set(metrics["knn"]) == {"epic_kitchens", "hmdb51"}
    assert metrics["_meta"]["fit_on"] == "val"


def test_shaped_files_are_scored_by_energy_and_nothing_else(folder, capsys):
    near(folder / "saved")
    near(folder / "saved", tag="a2d_npmix_best_ash_")
    near(folder / "saved", tag="a2d_npmix_best_react_")
    code, out, err, commands = run(capsys, "saved", "--out", "in")
    assert code == 0, err
    assert len(commands) == 3
    assert "features shaped by ash already" in out
    for command, name in zip(commands[1:], ("ash", "react"), strict=True):
        metrics = scored(capsys, command)
        assert set(metrics) == {name, "_meta"}
        assert metrics["_meta"]["shaped"] == name
        folder_name = f"in/HMDB_near_a2d_npmix_best_{name}"
        outputs = np.load(f"saved/id_HMDB_near_ood_output_a2d_npmix_best_{name}_test.npy").astype("f8")
        with np.load(f"{folder_name}/results/scores/{name}/id.npz") as saved:
            np.testing.assert_allclose(saved["conf"], np.log(np.exp(outputs).sum(axis=1)), rtol=1e-9)
    fitted = ["score", "--train", f"{folder_name}/train", "--test", f"{folder_name}/test", "--out", "x"]
    fitted += ["--ood", f"a={folder_name}/ood/hmdb51", "--postprocessors", "knn"]
    assert main(fitted) == 2
    assert "shaped by react already" in capsys.readouterr().err


def test_incomplete_folders_say_what_is_missing(folder, capsys):
    near(folder / "saved")
    (folder / "saved" / "id_HMDB_near_ood_output_a2d_npmix_best_test.npy").unlink()
    code, _, err, _ = run(capsys, "saved", "--out", "in")
    assert code == 2
    assert "lacks id_HMDB_near_ood_output_a2d_npmix_best_test.npy" in err
    assert len(err.strip().splitlines()) == 1
    assert not (folder / "in").exists()


def test_files_that_are_not_read_may_be_missing(folder, capsys):
    near(folder / "saved")
    for path in (folder / "saved").glob("*_conf_*"):
        path.unlink()
    code, _, err, _ = run(capsys, "saved", "--out", "in")
    assert code == 0
    assert (
        "lacks id_HMDB_near_ood_conf_a2d_npmix_best_train.npy and 3 more; pred and conf files aren't read"
        in err
    )


def test_refusals(folder, capsys):
    near(folder / "saved", dim=20)
    for arguments, message in (
        (["none"], "no such folder"),
        (["saved"], "features of 20 columns"),
        (["saved", "--slices", "video:12,flow:9"], "cover 21 columns"),
        (["saved", "--only", "HMDB_far"], "no group 'HMDB_far'"),
        (["saved", "--slices", "video:20", "--checkpoint", "none.pt"], "none.pt: there is no such file"),
    ):
        code, _, err, _ = run(capsys, *arguments, "--out", "in")
        assert code == 2
        assert message in err
        assert not (folder / "in").exists()


def test_a_full_disk_leaves_nothing_that_could_be_scored(folder, capsys, monkeypatch):
    near(folder / "saved", dim=20)
    from openood_multimodal.embeddings import format as store_format

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store_format.os, "posix_fallocate", full, raising=False)
        code, _, err, _ = run(capsys, "saved", "--out", "in", "--slices", "video:20")
    assert code == 1
    assert "No space left" in err
    assert not list((folder / "in").rglob("*.json"))
    assert run(capsys, "saved", "--out", "in", "--slices", "video:20")[0] == 0
