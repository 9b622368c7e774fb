"""Every kind of file that is read: a valid one, and the reader that a command would use."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import warnings
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: of the kind.
        files: name → content of a valid folder.
        target: the file that is changed.
        read: called with the folder; raises UserError for a bad file.
        text: whether the file is text.
    """

    name: str
    files: dict[str, bytes]
    target: str
    read: Callable[[Path], Any]
    text: bool = True


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _npz(compressed: bool = False, **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def _torch(value: Any, new: bool = True) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def _files(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _wav(rate: int = 16000, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.sin(np.arange(4000)).astype("<i2").tobytes() * channels)
    return buffer.getvalue()


def kinds(scratch: Path) -> list[Kind]:
    """Make valid files of every kind, with the help of an empty folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [*_texts(scratch), *_arrays(scratch), *_checkpoints(scratch), *_lists(), *_sounds()]


def _texts(scratch: Path) -> list[Kind]:
    from openood_multimodal.config import load_config
    from openood_multimodal.datasets.benchmarks import load_benchmark
    from openood_multimodal.datasets.clip_benchmarks import load_clip_benchmark
    from openood_multimodal.datasets.manifest import Manifest
    from openood_multimodal.datasets.own_table import ManifestRequest, load_manifest_table
    from openood_multimodal.datasets.split_card import SplitCard, entry_of, write_split
    from openood_multimodal.reporting.leaderboard import build
    from openood_multimodal.reporting.leaderboard_files import read_index
    from openood_multimodal.reporting.published import published_records
    from openood_multimodal.reporting.records import read_records
    from openood_multimodal.splits.auditing.class_names import load_class_overlaps

    record = published_records()[0]
    build(scratch / "board", published=True, benchmarks=[record.benchmark])
    manifest = Manifest.create(
        [f"c{i}" for i in range(6)],
        [0, 0, 1, 1, 0, 1],
        ["a", "a", "b", "b", "a", "b"],
        {"video": [f"v/{i}.avi" for i in range(6)], "flow": ["f/x_flow_x.mp4"] * 6},
        [f"g{i}" for i in range(6)],
        [0.0, 1.5, float("nan"), 2, 3, 4],
        [1.0, 2.5, float("nan"), 3, 4, 5],
    )
    card = SplitCard(None, None, "demo", ["a", "b"], {"train": entry_of(manifest, "train.csv")})
    write_split(scratch / "split", {"train": manifest}, card)
    table = b"clip,label,class_name,group,audio,start,stop\n" + b"".join(
        f"c{i},{i % 2},{'ab'[i % 2]},,t.csv#{i},,\n".encode() for i in range(4)
    )
    numbers = b"x,y\n1,2\n3,4.5\n-1,1e3\n0,0\n"
    splits = ROOT / "benchmark_splits"
    tables, of_clips = splits / "htad_4_3.yml", splits / "hmdb51_25_26.yml"

    def load(folder: Path) -> Any:
        files = ["datasets/synthetic/synthetic_far.yml", "networks/mlp_fusion.yml", str(folder / "c.yml")]
        return load_config(files, []).to_dict()

    config = (
        ROOT / "configs/pipelines/train/a2d_npmix.yml"
    ).read_bytes() + b"x: &a {y: [1, 2]}\nz: {<<: *a}\n"
    return [
        Kind(
            "record",
            {"records/x.record.json": record.to_json().encode()},
            "records/x.record.json",
            read_records,
        ),
        Kind("index", _files(scratch / "board"), "leaderboard.json", read_index),
        Kind(
            "manifest",
            {"m.csv": manifest.to_csv().encode()},
            "m.csv",
            lambda f: Manifest.read(f / "m.csv").to_csv(),
        ),
        Kind("card of a split", _files(scratch / "split"), "split.json", SplitCard.read),
        Kind(
            "references to tables",
            {"m.csv": table, "t.csv": numbers},
            "m.csv",
            lambda f: load_manifest_table(ManifestRequest(str(f / "m.csv"))),
        ),
        Kind(
            "table",
            {"m.csv": table, "t.csv": numbers},
            "t.csv",
            lambda f: load_manifest_table(ManifestRequest(str(f / "m.csv"))),
        ),
        Kind("benchmark", {"b.yml": tables.read_bytes()}, "b.yml", lambda f: load_benchmark(f / "b.yml")),
        Kind(
            "benchmark of clips",
            {"b.yml": of_clips.read_bytes()},
            "b.yml",
            lambda f: load_clip_benchmark(f / "b.yml"),
        ),
        Kind(
            "near classes",
            {"n.yml": (splits / "class_overlaps.yml").read_bytes()},
            "n.yml",
            lambda f: load_class_overlaps(f / "n.yml"),
        ),
        Kind("config", {"c.yml": config}, "c.yml", load),
    ]


def _arrays(scratch: Path) -> list[Kind]:
    from openood_multimodal.embeddings.multiood.groups import find_groups, select_groups
    from openood_multimodal.embeddings.store import EmbeddingStore
    from openood_multimodal.scoring.inputs import read_head, read_set

    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(12, 6)).astype("f4"), np.arange(12) % 3
    logits = features[:, :3]
    clips, slices = [f"c{i}" for i in range(12)], {"video": (0, 4), "flow": (4, 6)}
    store = EmbeddingStore.create(
        scratch / "store", 12, slices, 3, {"config": "x"}, clips, modality_logits=False
    )
    store.write(np.arange(12), features, logits, None, labels)
    store.finish()
    stored = _files(scratch / "store")

    def open_store(folder: Path) -> Any:
        opened = EmbeddingStore.open(folder)
        return opened.embeddings().features.sum()

    saved = {}
    for which in ("test", "train", "val"):
        for kind, array in (("feature", features), ("output", logits), ("label", labels)):
            saved[f"id_HMDB_near_ood_{kind}_x_best_{which}.npy"] = _npy(array)
    for kind, array in (("feature", features), ("output", logits), ("label", labels)):
        saved[f"id_HMDB_near_ood_{kind}_x_best_ood_HMDB.npy"] = _npy(array)

    def read_saved(folder: Path) -> Any:
        return [group.read() for group in find_groups([folder])]

    _ = select_groups
    sets = {"features": features, "labels": labels, "logits": logits, "modalities": np.array(["a", "b"])}
    head = {"weight": rng.normal(size=(3, 6)), "bias": np.zeros(3)}
    return [
        *(
            Kind(f"store's {name}", stored, name, open_store, text=not name.endswith(".npy"))
            for name in ("meta.json", "clips.txt", "features.npy", "labels.npy", "done.npy")
        ),
        *(
            Kind(
                f".npz{' compressed' * packed}",
                {"a.npz": _npz(packed, **sets)},
                "a.npz",
                lambda f: read_set(str(f / "a.npz"), "test"),
                False,
            )
            for packed in (False, True)
        ),
        Kind("head", {"h.npz": _npz(**head)}, "h.npz", lambda f: read_head(str(f / "h.npz")), False),
        *(
            Kind(f"saved {kind}", saved, f"id_HMDB_near_ood_{kind}_x_best_test.npy", read_saved, False)
            for kind in ("feature", "label")
        ),
    ]


def _checkpoints(scratch: Path) -> list[Kind]:
    import torch

    from openood_multimodal.config import load_config
    from openood_multimodal.datasets.loaders import build_loaders
    from openood_multimodal.embeddings.multiood.head import load_checkpoint_head
    from openood_multimodal.networks import build_network
    from openood_multimodal.networks.build import load_checkpoint
    from openood_multimodal.pipelines import TrainPipeline
    from openood_multimodal.pipelines.card import read_card
    from openood_multimodal.pipelines.state import check_state, read_state
    from openood_multimodal.registry import TRAINERS

    words = [
        *("--dataset.train.batch_size", "16", "--optimizer.num_epochs", "1", "--num_gpus", "0"),
        *("--recorder.tensorboard", "false"),
        *("--output_dir", str(scratch), "--exp_name", "run"),
    ]
    config = load_config(
        ["datasets/synthetic/synthetic_far.yml", "networks/mlp_fusion.yml", "pipelines/train/a2d.yml"], words
    )
    config["recorder"] = {**config["recorder"], "quiet": True}
    torch.set_num_threads(1)
    TrainPipeline(config).run()
    run = _files(scratch / "run")
    net = build_network(config["network"])
    loaders = build_loaders(config, training=True)
    trainer = TRAINERS.get(config["trainer"]["name"])(net, loaders["train"], config)
    state = torch.load(io.BytesIO(run["state.pt"]), weights_only=True)
    weights = torch.load(io.BytesIO(run["best.ckpt"]), weights_only=True)
    authors = {"mlp_cls_state_dict": {"enc_net.weight": torch.randn(3, 6), "enc_net.bias": torch.zeros(3)}}

    def read(folder: Path) -> Any:
        return load_checkpoint(net, folder / "a.ckpt")

    def resume(folder: Path) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has no checksum
            return check_state(read_state(folder / "state.pt"), folder / "state.pt", net, trainer)

    return [
        Kind("checkpoint", {"a.ckpt": _torch(weights)}, "a.ckpt", read, False),
        Kind("checkpoint of torch 1.5", {"a.ckpt": _torch(weights, new=False)}, "a.ckpt", read, False),
        Kind("state", {"state.pt": _torch(state)}, "state.pt", resume, False),
        Kind("sealed state", {"state.pt": run["state.pt"]}, "state.pt", resume, False),
        Kind(
            "authors' head",
            {"a.pt": _torch(authors)},
            "a.pt",
            lambda f: load_checkpoint_head(f / "a.pt"),
            False,
        ),
        Kind(
            "card",
            {n: run[n] for n in ("best.ckpt", "best.json")},
            "best.json",
            lambda f: read_card(f / "best.ckpt"),
        ),
    ]


def _lists() -> list[Kind]:
    from openood_multimodal.corpora.lists.reading import read_list

    entries = [("P01_01", 10 + i, 60 + i, "00:00:01.00", "00:00:02.50", i % 2) for i in range(20)]
    classes = {"put": 0, "take": 1}
    return [
        *(
            Kind(
                f"pickled list {n}",
                {"l.pkl": pickle.dumps(entries, protocol=n)},
                "l.pkl",
                lambda f: read_list(f / "l.pkl", "epic_kitchens", classes),
                text=n == 0,
            )
            for n in (0, 2, 4)
        ),
        Kind(
            "text list",
            {"l.txt": b"".join(b"catch/Foo_catch_u_cm_np1_fr_goo_%d.avi 0\n" % i for i in range(8))},
            "l.txt",
            lambda f: read_list(f / "l.txt", "hmdb51", {"catch": 0}),
        ),
        Kind(
            "a command's JSON", {"j.json": json.dumps({"a": [1, {"b": "c"}]}).encode()}, "j.json", _read_json
        ),
    ]


def _read_json(folder: Path) -> Any:
    from openood_multimodal.files import read_json

    return read_json(folder / "j.json")


def _sounds() -> list[Kind]:
    from openood_multimodal.preprocessors.audio import audio_duration, read_audio

    def read(folder: Path) -> Any:
        audio_duration(folder / "a.wav")
        return read_audio(folder / "a.wav", 0.05, 0.2)

    return [
        Kind(f"WAV, {rate} Hz, {channels}", {"a.wav": _wav(rate, channels)}, "a.wav", read, False)
        for rate, channels in ((16000, 1), (44100, 2))
    ]


def place(kind: Kind, folder: Path, data: bytes) -> None:
    """Put a kind's files into ``folder``, its target with ``data``."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in kind.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if name == kind.target else content)
