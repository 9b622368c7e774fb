"""Stores that were changed after they were finished: refused by whoever reads them, with the file's name."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest


@pytest.fixture
def copy(tiny, trained):
    """The folder of a finished test."""
    from openood_multimodal.pipelines import TestPipeline

    TestPipeline(tiny.config(tiny.test(checkpoint=trained / "best.ckpt"))).run()
    return tiny.folder / "test"


def score(cli, folder):
    stores = folder / "embeddings"
    return cli(
        [
            *("score", "--train", str(stores / "train"), "--test", str(stores / "test")),
            *("--ood", f"near={stores / 'synthetic_near'}", "--head", str(stores / "head.npz")),
            *("--out", str(folder / "scored"), "--postprocessors", "msp,knn"),
        ]
    )


def test_a_store_that_nobody_changed(copy, cli):
    done = score(cli, copy)
    assert done.code == 0, done.err


@pytest.mark.parametrize("store", ["train", "test", "synthetic_near"])
def test_a_quarter_of_the_labels_changed(copy, cli, store):
    path = copy / "embeddings" / store / "labels.npy"
    labels = np.load(path)
    labels[: len(labels) // 4] = np.roll(labels[: len(labels) // 4], 1) if store != "synthetic_near" else 0
    np.save(path, labels)
    done = score(cli, copy)
    assert done.code == 2
    assert f"{store}/labels.npy (rows 0 to " in done.err
    assert "has changed since the store was finished" in done.err
    assert "extract the embeddings again" in done.err


@pytest.mark.parametrize("name", ["features", "logits", "modality_logits", "labels"])
def test_one_flipped_bit(copy, cli, name):
    path = copy / "embeddings" / "test" / f"{name}.npy"
    content = bytearray(path.read_bytes())
    content[random.Random(name).randrange(128, len(content))] ^= 1
    path.write_bytes(content)
    done = score(cli, copy)
    assert done.code == 2
    assert f"test/{name}.npy" in done.err


def test_clips_renamed(copy, cli):
    path = copy / "embeddings" / "test" / "clips.txt"
    path.write_text("\n".join(reversed(path.read_text().splitlines())) + "\n")
    done = score(cli, copy)
    assert done.code == 2
    assert "clips.txt has changed" in done.err


@pytest.mark.parametrize("key", ["digest", "num_classes", "digests", "checksums", "sha256"])
def test_meta_changed(copy, cli, key):
    path = copy / "embeddings" / "test" / "meta.json"
    meta = json.loads(path.read_text())
    meta[key] = {"digest": "0" * 64, "num_classes": 99, "digests": {"checkpoint": "x"}}.get(key, {})
    path.write_text(json.dumps(meta))
    done = score(cli, copy)
    assert done.code == 2
    assert "meta.json" in done.err


def test_checksums_made_again_under_the_old_digest(copy, cli):
    """Who changes labels and their checksums, but wants the digest of records to stay, is found out too."""
    from openood_multimodal.embeddings.store import EmbeddingStore
    from openood_multimodal.files.seal import sealed_json

    folder = copy / "embeddings" / "test"
    old = json.loads((folder / "meta.json").read_text())
    labels = np.load(folder / "labels.npy")
    np.save(folder / "labels.npy", np.roll(labels, 1))
    opened = json.loads((folder / "meta.json").read_text())
    opened |= {"complete": False, "digest": None, "checksums": {}}
    del opened["sha256"]
    (folder / "meta.json").write_text(json.dumps(sealed_json(opened)))
    EmbeddingStore(folder, _meta(folder), _clips(folder), True).finish()
    new = json.loads((folder / "meta.json").read_text())
    del new["sha256"]
    (folder / "meta.json").write_text(json.dumps(sealed_json({**new, "digest": old["digest"]})))
    done = score(cli, copy)
    assert done.code == 2
    assert "its digest is not that of its checksums" in done.err


def _meta(folder):
    from openood_multimodal.embeddings.format import StoreMeta

    return StoreMeta.read(folder / "meta.json")


def _clips(folder):
    return tuple((folder / "clips.txt").read_text().splitlines())
