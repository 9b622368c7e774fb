import contextlib
import errno
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

import openood_multimodal
from openood_multimodal.datasets.skipped import SkippedClip
from openood_multimodal.embeddings import format as store_format
from openood_multimodal.embeddings.store import EmbeddingStore
from openood_multimodal.errors import UserError

N, C, SLICES = 30, 4, {"video": (0, 6), "audio": (6, 8), "flow": (8, 11)}
DIGESTS = {"checkpoint": "c" * 64, "manifest": "m" * 64, "config": "f" * 64}
CLIPS = [f"clip {i}/é.mp4" for i in range(N)]


def content(n=N, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(n, 11)).astype(np.float32),
        rng.normal(size=(n, C)).astype(np.float32),
        rng.normal(size=(n, 3, C)).astype(np.float32),
        rng.integers(-1, C, n),
    )


def create(path, **changes):
    options = {
        "num_samples": N,
        "slices": SLICES,
        "num_classes": C,
        "digests": DIGESTS,
        "clips": CLIPS,
        "modality_logits": True,
    }
    return EmbeddingStore.create(path, **{**options, **changes})


def fill(store, rows=None):
    rows = store.pending() if rows is None else np.asarray(rows)
    store.write(rows, *(array[rows] for array in content()))


def files(path):
    return {p.name: p.read_bytes() for p in Path(path).iterdir()}


@pytest.fixture
def complete(tmp_path):
    store = create(tmp_path / "s")
    fill(store)
    store.finish()
    return tmp_path / "s"


def test_round_trip(tmp_path):
    store = create(tmp_path / "s")
    assert len(store) == N
    assert not store.complete
    np.testing.assert_array_equal(store.pending(), np.arange(N))
    fill(store, [3, 1, 29])
    np.testing.assert_array_equal(store.pending(), np.setdiff1d(np.arange(N), [1, 3, 29]))
    fill(store)
    store.finish()
    store.finish()
    assert store.complete

    again = EmbeddingStore.open(tmp_path / "s", DIGESTS)
    got = again.embeddings()
    for name, expected in zip(("features", "logits", "modality_logits", "labels"), content(), strict=True):
        np.testing.assert_array_equal(getattr(got, name), expected)
    assert isinstance(got.features, np.memmap)
    assert not got.features.flags.writeable
    assert got.labels.dtype == np.int64
    assert got.features.dtype == got.logits.dtype == np.float32
    assert list(got.slices.items()) == list(SLICES.items())
    assert got.clips == tuple(CLIPS)
    assert again.digest() == store.digest() == again.meta["digest"]
    again.verify()
    meta = json.loads((tmp_path / "s" / "meta.json").read_text())
    assert meta["schema_version"] == 3
    assert meta["num_samples"] == N
    assert meta["dim"] == 11
    assert meta["slices"] == {k: list(v) for k, v in SLICES.items()}
    assert meta["complete"] is True
    assert meta["package_version"] == openood_multimodal.__version__


def test_without_modality_logits(tmp_path):
    store = create(tmp_path, modality_logits=False)
    features, logits, _, labels = content()
    with pytest.raises(UserError, match="has no modality logits"):
        store.write(np.arange(N), *content())
    store.write(np.arange(N), features, logits, None, labels)
    store.finish()
    assert EmbeddingStore.open(tmp_path).embeddings().modality_logits is None
    assert not (tmp_path / "modality_logits.npy").exists()


def test_create_resumes(tmp_path):
    fill(create(tmp_path), range(10))
    resumed = create(tmp_path)
    np.testing.assert_array_equal(resumed.pending(), np.arange(10, N))
    fill(resumed)
    resumed.finish()
    whole = files(tmp_path)
    done = create(tmp_path)
    assert done.complete
    assert not len(done.pending())
    with pytest.raises(UserError, match="overwrite=True"):
        fill(done, [0])
    assert files(tmp_path) == whole
    assert len(create(tmp_path, overwrite=True).pending()) == N
    with pytest.raises(UserError, match="not complete"):
        EmbeddingStore.open(tmp_path)


@pytest.mark.parametrize("key", DIGESTS)
def test_other_digest_is_named(tmp_path, key):
    other = {**DIGESTS, key: "0" * 64}
    fill(create(tmp_path))
    with pytest.raises(UserError, match=rf"another {key}.*{DIGESTS[key][:8]}.*expected 0000.*overwrite=True"):
        create(tmp_path, digests=other)
    store = create(tmp_path)
    store.finish()
    with pytest.raises(UserError, match=rf"another {key}"):
        EmbeddingStore.open(tmp_path, other)
    EmbeddingStore.open(tmp_path, {"manifest": DIGESTS["manifest"]})
    with pytest.raises(UserError, match="absent"):
        EmbeddingStore.open(tmp_path, {"code": "1"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": C + 1}, "num_classes is 4, not 5"),
        ({"modality_logits": False}, "modality_logits is True, not False"),
        ({"slices": {"video": (0, 7), "audio": (7, 8), "flow": (8, 11)}}, "slices"),
        ({"slices": {"a": (0, 6), "b": (6, 8), "c": (8, 11)}}, "slices"),
        ({"clips": ["x", *CLIPS[1:]]}, "row 0 is 'clip 0/é.mp4', not 'x'"),
        ({"num_samples": 2, "clips": ["a", "b"]}, "num_samples is 30, not 2"),
    ],
)
def test_other_shape_is_refused(tmp_path, changes, message):
    create(tmp_path)
    with pytest.raises(UserError, match=message):
        create(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_samples": 0, "clips": []}, "at least one"),
        ({"clips": CLIPS[1:]}, "29 clip names for 30"),
        ({"clips": ["a\nb", *CLIPS[1:]]}, "line break"),
        ({"slices": {}}, "no modality"),
        ({"slices": {"a": (0, 3), "b": (4, 5)}}, "without gaps; 'b'"),
        ({"slices": {"a": (0, 0)}}, "'a'"),
    ],
)
def test_bad_requests(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        create(tmp_path / "s", **changes)
    assert not (tmp_path / "s").exists()


def test_other_files_are_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        create(tmp_path, overwrite=True)
    assert files(tmp_path) == {"thesis.tex": b"mine"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_not_finite_names_the_clip(tmp_path, value, which):
    store = create(tmp_path)
    arrays = [a[5:9].astype(np.float64) if a.ndim > 1 else a[5:9] for a in content()]
    arrays[which][2, ..., 1] = value
    with pytest.raises(UserError, match=r"clip 7/é\.mp4.*row 7.*not finite"):
        store.write([5, 6, 7, 8], *arrays)
    assert len(store.pending()) == N


@pytest.mark.parametrize("label", [-2, C, 0.5])
def test_label_outside_the_classes(tmp_path, label):
    *rest, _ = (a[:3] for a in content())
    with pytest.raises(UserError, match=r"clip 1/.*label outside -1 \(OOD\) to 3"):
        create(tmp_path).write([0, 1, 2], *rest, np.array([0, label, 1]))


def test_shapes_and_rows(tmp_path):
    store = create(tmp_path)
    f, z, m, y = (a[:2] for a in content())
    with pytest.raises(UserError, match=r"features must be \[2, 11\], got \[2, 10\]"):
        store.write([0, 1], f[:, 1:], z, m, y)
    with pytest.raises(UserError, match="labels must be"):
        store.write([0, 1], f, z, m, y[:1])
    with pytest.raises(UserError, match="has modality logits"):
        store.write([0, 1], f, z, None, y)
    for rows in ([0, N], [-1, 0], [1, 1], [0.0, 1.0], [[0, 1]]):
        with pytest.raises(UserError, match="rows must"):
            store.write(rows, f, z, m, y)
    store.write([], f[:0], z[:0], m[:0], y[:0].astype(np.int64))
    assert len(store.pending()) == N


def test_incomplete_is_never_scored(tmp_path):
    store = create(tmp_path)
    fill(store, range(12))
    for attempt in (store.embeddings, store.digest, lambda: EmbeddingStore.open(tmp_path)):
        with pytest.raises(UserError, match="not complete: 12 of 30"):
            attempt()
    with pytest.raises(UserError, match=r"18 of 30 rows are not written, the first is row 12"):
        store.finish()
    fill(store)
    with pytest.raises(UserError, match="not complete: 30 of 30"):  # written, but not sealed
        EmbeddingStore.open(tmp_path)


def test_no_store(tmp_path):
    with pytest.raises(UserError, match="is not an embedding store"):
        EmbeddingStore.open(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["features", "logits", "modality_logits", "labels", "done"])
@pytest.mark.parametrize("damage", ["short", "header", "empty", "missing", "shape", "dtype", "object"])
def test_damaged_arrays(complete, name, damage):
    path = complete / f"{name}.npy"
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage in ("shape", "dtype", "object"):
        array = np.load(path)
        changed = {"shape": array[1:], "dtype": array.astype(np.float16), "object": array.astype(object)}
        np.save(path, changed[damage], allow_pickle=True)
    else:
        path.write_bytes({"short": data[:-3], "header": b"garbage" + data[7:], "empty": b""}[damage])
    with pytest.raises(UserError, match=rf"{name}\.npy"):
        EmbeddingStore.open(complete)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "null", '{"schema_version": 1}', '{"schema_version": 1, "dim": 3, "x": 2}']
)
def test_damaged_meta(complete, text):
    (complete / "meta.json").write_text(text)
    with pytest.raises(UserError, match=r"meta\.json.*delete the folder|schema version"):
        EmbeddingStore.open(complete)


@pytest.mark.parametrize(
    "change",
    [{"num_samples": "30"}, {"dim": 12}, {"complete": 1}, {"digest": None}, {"extra": 1}, {"slices": 3}],
)
def test_wrong_entries_in_meta(complete, change):
    path = complete / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=r"meta\.json"):
        EmbeddingStore.open(complete)


def test_skipped_rows_stay_out(tmp_path):
    skipped = [SkippedClip(row, CLIPS[row], f"no file {row}") for row in (0, 7, 20)]
    rows = np.setdiff1d(np.arange(N), [each.row for each in skipped])
    store = create(tmp_path / "s")
    fill(store, rows)
    with pytest.raises(UserError, match=r"1 of 30 rows are not written, the first is row 20"):
        store.finish(skipped[:2])
    assert not store.complete
    store.finish(reversed([*skipped, SkippedClip(3, CLIPS[3], "written after all")]))
    again = EmbeddingStore.open(tmp_path / "s", DIGESTS)
    again.verify()
    assert again.skipped == tuple(skipped)
    meta = json.loads((tmp_path / "s" / "meta.json").read_text())
    assert meta["skipped"] == [[row, CLIPS[row], f"no file {row}"] for row in (0, 7, 20)]
    got = again.embeddings()
    for array, expected in zip(
        (got.features, got.logits, got.modality_logits, got.labels), content(), strict=True
    ):
        np.testing.assert_array_equal(array, expected[rows])
    assert got.clips == tuple(CLIPS[row] for row in rows)
    # the files alone: nothing that could be taken for an embedding
    assert np.isnan(np.load(tmp_path / "s" / "features.npy")[[0, 7, 20]]).all()
    assert (np.load(tmp_path / "s" / "labels.npy")[[0, 7, 20]] == -1).all()
    # the digest is that of a store without these clips
    fewer = create(tmp_path / "fewer", num_samples=len(rows), clips=[CLIPS[row] for row in rows])
    fewer.write(np.arange(len(rows)), *(array[rows] for array in content()))
    fewer.finish()
    assert fewer.digest() == again.digest()


def test_a_store_of_nothing_but_skipped_rows(tmp_path):
    store = create(tmp_path)
    with pytest.raises(UserError, match=r"none of its 30 clips can be read. The first: gone"):
        store.finish([SkippedClip(row, clip, "gone") for row, clip in enumerate(CLIPS)])
    assert not store.complete


def test_a_store_of_version_1(complete):
    """It knew no skipped rows and no checksums; its digest was of the arrays' bytes."""
    path = complete / "meta.json"
    meta = json.loads(path.read_text())
    for later in ("skipped", "checksums", "sha256"):
        del meta[later]
    digest = hashlib.sha256()
    for name in ("features", "logits", "modality_logits", "labels"):
        array = np.load(complete / f"{name}.npy")
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    digest.update(json.dumps([meta["slices"], list(CLIPS)], ensure_ascii=False).encode())
    path.write_text(json.dumps({**meta, "schema_version": 1, "digest": digest.hexdigest()}))
    store = EmbeddingStore.open(complete)
    assert store.skipped == ()
    store.verify()
    np.save(complete / "labels.npy", np.load(complete / "labels.npy")[::-1])
    with pytest.raises(UserError, match="has changed since it was finished"):
        EmbeddingStore.open(complete).embeddings()


def test_later_schema(complete):
    path = complete / "meta.json"
    path.write_text(path.read_text().replace('"schema_version": 3', '"schema_version": 4'))
    with pytest.raises(UserError, match="schema version 4"):
        EmbeddingStore.open(complete)


def test_damaged_clips(complete):
    (complete / "clips.txt").write_text("a\n")
    with pytest.raises(UserError, match=r"names 1 clips"):
        EmbeddingStore.open(complete)
    (complete / "clips.txt").write_bytes(b"\xff\n" * N)
    with pytest.raises(UserError, match=r"clips\.txt is not UTF-8"):
        EmbeddingStore.open(complete)


def test_complete_with_rows_undone(complete):
    np.save(complete / "done.npy", np.arange(N) > 0)
    with pytest.raises(UserError, match="damaged"):
        EmbeddingStore.open(complete)


@pytest.mark.parametrize("name", ["features", "logits", "modality_logits", "labels"])
def test_verify_finds_a_changed_value(complete, name):
    data = bytearray((complete / f"{name}.npy").read_bytes())
    data[-1] ^= 1
    (complete / f"{name}.npy").write_bytes(bytes(data))
    with pytest.raises(UserError, match="has changed"):
        EmbeddingStore.open(complete).embeddings()


def test_digest_depends_on_clips_and_slices(tmp_path):
    digests = set()
    for i, changes in enumerate(
        ({}, {"clips": CLIPS[::-1]}, {"slices": {"a": (0, 6), "b": (6, 8), "c": (8, 11)}})
    ):
        store = create(tmp_path / str(i), **changes)
        fill(store)
        store.finish()
        digests.add(store.digest())
    assert len(digests) == 3


def test_full_disk_at_creation_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def full(*_):
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_format.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        create(tmp_path)
    assert files(tmp_path) == {}


def test_data_is_flushed_before_rows_are_marked_done(tmp_path, monkeypatch):
    store = create(tmp_path)
    order = []
    by_id = {id(array): name for name, array in store._arrays.items()}
    original = np.memmap.flush

    def flush(array):
        order.append((by_id[id(array)], bool(store._arrays["done"].any())))
        original(array)

    monkeypatch.setattr(np.memmap, "flush", flush)
    fill(store, [0, 1])
    assert [name for name, _ in order] == ["features", "logits", "modality_logits", "labels", "done"]
    assert [marked for _, marked in order] == [False, False, False, False, True]


def write_all(folder, n=400):
    rng = np.random.default_rng(1)
    features, logits, labels = rng.normal(size=(n, 64)), rng.normal(size=(n, 5)), rng.integers(0, 5, n)
    slices, clips = {"a": (0, 40), "b": (40, 64)}, [str(i) for i in range(n)]
    store = EmbeddingStore.create(folder, n, slices, 5, {"checkpoint": "x"}, clips, modality_logits=False)
    while len(rows := store.pending()[:4]):
        store.write(rows, features[rows], logits[rows], None, labels[rows])
    store.finish()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_and_resumed_gives_identical_bytes(tmp_path):
    fork = multiprocessing.get_context("fork")
    began = time.perf_counter()
    write_all(tmp_path / "whole")
    duration = time.perf_counter() - began
    folder = tmp_path / "killed"
    random.seed(0)
    left = []
    for _ in range(12):
        process = fork.Process(target=write_all, args=(folder,))
        process.start()
        time.sleep(random.uniform(0, duration / 5))
        process.kill()  # SIGKILL
        process.join()
        if (folder / "meta.json").exists():
            left.append(400 - int(np.load(folder / "done.npy").sum()))
            if left[-1]:
                with pytest.raises(UserError, match="not complete"):
                    EmbeddingStore.open(folder)
    assert left == sorted(left, reverse=True)  # nothing done is ever done again
    for _ in range(20):  # on a machine whose pace changes, all kills may come too early or too late: aim one
        if any(0 < n < 400 for n in left):
            break
        shutil.rmtree(folder, ignore_errors=True)
        process = fork.Process(target=write_all, args=(folder,))
        process.start()
        while process.is_alive():
            with contextlib.suppress(OSError, ValueError):  # not there yet
                if 0 < int(np.load(folder / "done.npy").sum()) < 400:
                    break
        process.kill()
        process.join()
        left.append(400 - int(np.load(folder / "done.npy").sum()))
    assert any(0 < n < 400 for n in left), "no kill came in the middle; the test showed nothing"
    write_all(folder)
    assert {k: v for k, v in files(folder).items() if not k.endswith(".tmp")} == files(tmp_path / "whole")
    EmbeddingStore.open(folder, {"checkpoint": "x"}).verify()
