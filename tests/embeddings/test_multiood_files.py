"""Names, groups and heads of MultiOOD's saved files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from openood_multimodal.arrays import LinearHead
from openood_multimodal.embeddings.multiood import (
    find_groups,
    head_from_checkpoint,
    head_from_outputs,
    import_group,
    score_command,
    select_groups,
)
from openood_multimodal.embeddings.multiood.groups import SavedSet
from openood_multimodal.embeddings.multiood.names import KINDS, GroupKey, file_name, parse_name
from openood_multimodal.embeddings.multiood.stores import columns_of
from openood_multimodal.embeddings.store import EmbeddingStore
from openood_multimodal.errors import UserError

DIM, CLASSES = 12, 3
SLICES = {"video": 7, "flow": 5}


def save_set(folder, stem, suffix, count, seed=0, dim=DIM, classes=CLASSES):
    """Write what the authors' scripts write: five arrays of one set; ``stem`` and ``suffix`` around the kind."""
    rng = np.random.default_rng([seed, count])
    weight, bias = np.random.default_rng(99).standard_normal((classes, dim)), np.arange(classes)
    features = np.maximum(rng.standard_normal((count, dim)), 0).astype("f4")
    outputs = (features @ weight.T + bias).astype("f4")
    arrays = {
        "feature": features,
        "output": outputs,
        "label": np.arange(count) % classes,
        "pred": outputs.argmax(axis=1),
        "conf": outputs.max(axis=1),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in arrays.items():
        np.save(folder / f"{stem}_{kind}_{suffix}.npy", array)


def near(folder, name="HMDB", tag="a2d_", splits=("train", "val", "test", "eval"), **more):
    for number, split in enumerate(splits):
        save_set(folder, f"id_{name}_near_ood", f"{tag}{split}", 20 + number, **more)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "id_HMDB_near_ood_feature_a2d_npmix_best_train.npy",
            ("near", "HMDB", "a2d_npmix_best_", "train", "feature"),
        ),
        (
            "id_EPIC_near_ood_output_vfa_best_eval.npy",
            ("near", "EPIC", "vfa_best_", "ood/epic_kitchens", "output"),
        ),
        ("id_Kinetics_near_ood_label_val.npy", ("near", "Kinetics", "", "val", "label")),
        ("id_HMDB_feature_a2d_test.npy", ("far", "HMDB", "a2d_", "test", "feature")),
        ("id_HMDB_feature_best_val.npy", ("far", "HMDB", "best_", "val", "feature")),
        ("id_HMDB_conf_test.npy", ("far", "HMDB", "", "test", "conf")),
        ("id_HMDB_ood_UCF_pred_a2d_eval.npy", ("far", "HMDB", "a2d_", "ood/ucf101", "pred")),
        ("id_Kinetics_ood_HAC_feature_eval.npy", ("far", "Kinetics", "", "ood/hac", "feature")),
        ("id_HMDB_ood_Mine_feature_eval.npy", ("far", "HMDB", "", "ood/Mine", "feature")),
        ("id_HMDB_near_ood_feature_ash_test.npy", ("near", "HMDB", "ash_", "test", "feature")),
    ],
)
def test_names(name, expected):
    found = parse_name(Path(name))
    setting, dataset, tag, which, kind = expected
    assert found[:3] == (GroupKey(setting, dataset, tag), which, kind)
    assert file_name(found.group, found.set, found.kind) == name


@pytest.mark.parametrize(
    "name", ["id_HMDB_feature_eval.npy", "feature_train.npy", "id_HMDB_logits_train.npy", "x.npy"]
)
def test_other_names_are_left_alone(name):
    assert parse_name(Path(name)) is None


@pytest.mark.parametrize(
    ("tag", "shaped", "folder"),
    [
        ("a2d_", None, "X_near_a2d"),
        ("", None, "X_near"),
        ("a2d_ash_", "ash", "X_near_a2d_ash"),
        ("react_", "react", "X_near_react"),
        ("a_react_ash_", "react_ash", "X_near_a_react_ash"),
        ("crash_course_", None, "X_near_crash_course"),
    ],
)
def test_shaped_tags_and_folders(tag, shaped, folder):
    key = GroupKey("near", "X", tag)
    assert (key.shaped, key.name) == (shaped, folder)


def test_groups_of_several_folders(tmp_path):
    near(tmp_path / "HMDB-rgb-flow" / "saved_files")
    near(tmp_path / "HMDB-rgb-flow" / "saved_files", tag="a2d_ash_")
    for split in ("val", "test"):
        save_set(tmp_path / "HMDB-rgb-flow" / "saved_files", "id_HMDB", f"a2d_{split}", 10)
    save_set(tmp_path / "HMDB-rgb-flow" / "saved_files", "id_HMDB_ood_UCF", "a2d_eval", 10)
    save_set(tmp_path / "EPIC-rgb-flow" / "saved_files", "id_HMDB_ood_EPIC", "a2d_eval", 10)
    found = find_groups([tmp_path / "HMDB-rgb-flow", tmp_path / "EPIC-rgb-flow" / "saved_files"])
    assert {group.name: group.sets for group in found} == {
        "HMDB_far_a2d": ["val", "test", "ood/epic_kitchens", "ood/ucf101"],
        "HMDB_near_a2d": ["train", "val", "test", "ood/hmdb51"],
        "HMDB_near_a2d_ash": ["train", "val", "test", "ood/hmdb51"],
    }
    assert select_groups(found, None) == found
    assert [g.name for g in select_groups(found, ["HMDB_far_a2d"])] == ["HMDB_far_a2d"]
    with pytest.raises(UserError, match=r"Did you mean 'HMDB_far_a2d'"):
        select_groups(found, ["HMDB_far_a2"])


def test_the_same_file_in_two_folders_is_refused(tmp_path):
    near(tmp_path / "a")
    near(tmp_path / "b")
    with pytest.raises(UserError, match=r"is both in"):
        find_groups([tmp_path / "a", tmp_path / "b"])
    assert len(find_groups([tmp_path / "a", tmp_path / "a"])) == 1


def test_folders_without_files(tmp_path):
    with pytest.raises(UserError, match=r"no such folder"):
        find_groups([tmp_path / "none"])
    (tmp_path / "id_HMDB_something.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"no saved files of MultiOOD"):
        find_groups([tmp_path])


@pytest.mark.parametrize("kind", ["feature", "output", "label"])
@pytest.mark.parametrize("split", ["train", "test", "eval"])
def test_an_incomplete_set_is_named(tmp_path, kind, split):
    near(tmp_path)
    gone = f"id_HMDB_near_ood_{kind}_a2d_{split}.npy"
    (tmp_path / gone).unlink()
    with pytest.raises(UserError, match=rf"HMDB_near_a2d lacks {gone}\."):
        select_groups(find_groups([tmp_path]), None)


def test_missing_sets_are_named(tmp_path):
    near(tmp_path, splits=("train", "val"))
    save_set(tmp_path, "id_HMDB_ood_UCF", "a2d_eval", 5)
    save_set(tmp_path, "id_UCF", "test", 5)
    near(tmp_path, "EPIC")
    found = find_groups([tmp_path])
    with pytest.raises(UserError) as caught:
        select_groups(found, None)
    message = str(caught.value)
    for name in (
        "id_HMDB_near_ood_feature_a2d_test.npy",
        "id_HMDB_near_ood_output_a2d_eval.npy",
        "id_HMDB_label_a2d_test.npy",
        "id_UCF_ood_<OOD>_feature_eval.npy",
        "only=['EPIC_near_a2d']",
        "EPIC-rgb-flow",
    ):
        assert name in message
    assert select_groups(found, ["EPIC_near_a2d"])


def test_pred_and_conf_are_not_needed(tmp_path):
    near(tmp_path)
    (tmp_path / "id_HMDB_near_ood_conf_a2d_test.npy").unlink()
    (group,) = select_groups(find_groups([tmp_path]), None)
    assert group.unneeded_missing() == ["id_HMDB_near_ood_conf_a2d_test.npy"]


def poison(path, row, column, value):
    array = np.load(path)
    array[row, column] = value
    np.save(path, array)


BREAK = {
    "nan": (lambda f: poison(f("feature", "val"), 3, 4, np.nan), "val.npy holds nan at row 3, column 4"),
    "inf": (lambda f: poison(f("output", "eval"), 2, 1, -np.inf), "eval.npy holds -inf at row 2, column 1"),
    "rows": (lambda f: np.save(f("label", "test"), np.zeros(5, int)), "has 5 rows"),
    "width": (lambda f: np.save(f("feature", "val"), np.zeros((21, 9), "f4")), "has 9 columns"),
    "classes": (lambda f: np.save(f("output", "eval"), np.zeros((23, 9), "f4")), "has 9 columns"),
    "label": (
        lambda f: np.save(f("label", "train"), np.arange(20)),
        "label 3 in row 3 is none of the 3 classes",
    ),
    "dtype": (lambda f: np.save(f("feature", "test"), np.zeros((22, DIM), int)), "must hold floats"),
    "empty": (lambda f: np.save(f("feature", "test"), np.zeros((0, DIM), "f4")), "empty"),
    "objects": (lambda f: np.save(f("label", "test"), np.array([{}], dtype=object)), "Python objects"),
    "cut": (lambda f: f("feature", "test").write_bytes(f("feature", "test").read_bytes()[:-3]), "damaged"),
    "no array": (lambda f: f("output", "test").write_bytes(b"text"), "damaged"),
    "nothing": (lambda f: f("output", "test").write_bytes(b""), "damaged"),
}


@pytest.mark.parametrize("what", BREAK)
def test_broken_files_are_named(tmp_path, what):
    near(tmp_path / "in")
    act, message = BREAK[what]
    act(lambda kind, split: tmp_path / "in" / f"id_HMDB_near_ood_{kind}_a2d_{split}.npy")
    (group,) = select_groups(find_groups([tmp_path / "in"]), None)
    with pytest.raises(UserError, match=message):
        import_group(group, tmp_path / "out", SLICES)
    assert not (tmp_path / "out").exists()


def test_stores_hold_what_was_saved(tmp_path):
    near(tmp_path / "in")
    np.save(tmp_path / "in" / "id_HMDB_near_ood_label_a2d_eval.npy", np.full(23, 50))  # labels of another set
    (group,) = find_groups([tmp_path / "in"])
    done = import_group(group, tmp_path / "out", SLICES)
    assert done.rows == {"train": 20, "val": 21, "test": 22, "ood/hmdb51": 23}
    for which, split in {"train": "train", "ood/hmdb51": "eval"}.items():
        store = EmbeddingStore.open(done.path(which))
        store.verify()
        got = store.embeddings()
        saved = {k: np.load(tmp_path / "in" / f"id_HMDB_near_ood_{k}_a2d_{split}.npy") for k in KINDS}
        np.testing.assert_array_equal(got.features, saved["feature"])
        np.testing.assert_array_equal(got.logits, saved["output"])
        np.testing.assert_array_equal(got.labels, -1 if split == "eval" else saved["label"])
        assert got.slices == {"video": (0, 7), "flow": (7, 12)}
        assert "shaped" not in store.meta["digests"]
    words = score_command(done)
    assert words[:4] == ["openood-mm", "score", "--train", str(done.path("train"))]
    assert words[words.index("--ood") + 1] == f"hmdb51={done.path('ood/hmdb51')}"
    again = {p: p.stat().st_mtime_ns for p in done.folder.rglob("*.npy")}
    import_group(group, tmp_path / "out", SLICES)
    assert {p: p.stat().st_mtime_ns for p in done.folder.rglob("*.npy")} == again
    near(tmp_path / "in", seed=1)
    with pytest.raises(UserError, match=r"made from another source.*overwrite=True"):
        import_group(group, tmp_path / "out", SLICES)
    assert not (done.folder / "import.json").exists()  # a folder with a note is whole
    import_group(group, tmp_path / "out", SLICES, overwrite=True)
    saved = np.load(tmp_path / "in" / "id_HMDB_near_ood_feature_a2d_test.npy")
    np.testing.assert_array_equal(EmbeddingStore.open(done.path("test")).embeddings().features, saved)


def test_shaped_groups_are_marked_and_get_no_head(tmp_path):
    near(tmp_path / "in", tag="a2d_react_")
    (group,) = find_groups([tmp_path / "in"])
    done = import_group(group, tmp_path / "out", SLICES)
    for which in done.rows:
        assert EmbeddingStore.open(done.path(which)).meta["digests"]["shaped"] == "react"
    assert done.fit.head is None
    assert not (done.folder / "head.npz").exists()


def test_columns():
    assert columns_of(4352, None) == {"video": (0, 2304), "flow": (2304, 4352)}
    assert columns_of(4864, None) == {"video": (0, 2304), "audio": (2304, 2816), "flow": (2816, 4864)}
    with pytest.raises(UserError, match=r"features of 100 columns.*slices="):
        columns_of(100, None)
    with pytest.raises(UserError, match=r"cover 12 columns, but the features have 100"):
        columns_of(100, SLICES)


def saved_sets(counts, noise=0.0, dead=0, dim=DIM, seed=0):
    rng = np.random.default_rng(seed)
    head = LinearHead(rng.standard_normal((CLASSES, dim)), rng.standard_normal(CLASSES))
    sets = []
    for count in counts:
        features = np.maximum(rng.standard_normal((count, dim)) + 0.3, 0).astype("f4")
        features[:, dim - dead :] = 0
        outputs = head.logits(features.astype("f8")) + noise * rng.standard_normal((count, CLASSES))
        sets.append(SavedSet(features, outputs.astype("f4"), np.zeros(count, np.int64)))
    return head, sets


@pytest.mark.parametrize("counts", [(40, 30), (13,), (1, 2, 20), (3, 300, 4)])
def test_least_squares_finds_the_head(counts):
    head, sets = saved_sets(counts)
    fit = head_from_outputs(sets)
    assert fit.source == "least squares"
    np.testing.assert_allclose(fit.head.weight, head.weight, atol=1e-4)
    np.testing.assert_allclose(fit.head.bias, head.bias, atol=1e-4)
    rows = np.vstack([np.hstack([s.features, np.ones((len(s.features), 1))]) for s in sets]).astype("f8")
    expected = np.linalg.lstsq(rows, np.vstack([s.outputs for s in sets]).astype("f8"), rcond=None)[0]
    np.testing.assert_allclose(fit.head.weight, expected[:-1].T, atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"counts": (12,)}, "at least 13 rows for 12 features and the bias, and these files have 12"),
        ({"counts": (60,), "dead": 2}, r"don't span all 12 dimensions \(2 of the 12 columns are 0"),
        ({"counts": (200,), "noise": 1.0}, "no linear function of the features"),
    ],
)
def test_no_head_where_none_is_determined(arguments, reason):
    fit = head_from_outputs(saved_sets(**arguments)[1])
    assert fit.head is None
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(fit.missing)


def test_no_head_where_features_repeat_one_another():
    head, (one,) = saved_sets((80,))
    features = one.features.copy()
    features[:, 3] = 2 * features[:, 4]
    outputs = head.logits(features.astype("f8")).astype("f4")
    assert "don't span" in head_from_outputs([SavedSet(features, outputs, one.labels)]).missing
    features[:, 3] = features[:, 4] * (1 + 1e-7 * np.arange(80))  # varies by a hair: hardly determined
    outputs = head.logits(features.astype("f8")).astype("f4")
    fit = head_from_outputs([SavedSet(features, outputs, one.labels)])
    assert fit.head is None
    assert "span" in fit.missing or "hardly vary" in fit.missing


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_checkpoints_head(tmp_path, prefix):
    head, sets = saved_sets((6, 4))
    state = {
        f"{prefix}enc_net.weight": torch.tensor(head.weight, dtype=torch.float32),
        f"{prefix}enc_net.bias": torch.tensor(head.bias, dtype=torch.float32),
    }
    torch.save({"epoch": 3, "BestAcc": 0.5, "mlp_cls_state_dict": state}, tmp_path / "a.pt")
    fit = head_from_checkpoint(tmp_path / "a.pt", sets)
    assert fit.source == "checkpoint"
    assert fit.residual < 1e-6
    np.testing.assert_array_equal(fit.head.weight, head.weight.astype("f4"))


def test_other_checkpoints_are_refused(tmp_path):
    head, sets = saved_sets((6, 4))
    path = tmp_path / "a.pt"

    def state(weight, bias):
        return {
            "mlp_cls_state_dict": {"enc_net.weight": torch.tensor(weight), "enc_net.bias": torch.tensor(bias)}
        }

    class Code:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    for content, message in (
        (state(head.weight[::-1].copy(), head.bias), "did not make these files"),
        (state(head.weight[:, :7], head.bias), r"its head is \[3, 7\], but the saved files need \[3, 12\]"),
        ({"mlp_cls_state_dict": {"fc.weight": torch.ones(2)}}, "has no 'enc_net.weight'; it holds fc.weight"),
        ({"state_dict": {}}, "has no 'mlp_cls_state_dict'"),
        ([1], "has no 'mlp_cls_state_dict'"),
        ({"mlp_cls_state_dict": Code()}, "more than tensors"),
    ):
        torch.save(content, path)
        with pytest.raises(UserError, match=message):
            head_from_checkpoint(path, sets)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match=r"a\.pt is damaged"):
        head_from_checkpoint(path, sets)
    with pytest.raises(UserError, match=r"b\.pt: there is no such file"):
        head_from_checkpoint(tmp_path / "b.pt", sets)
