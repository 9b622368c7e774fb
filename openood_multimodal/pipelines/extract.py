"""Extract: run the network once over every set, into embedding stores that are scored many times."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader

from ..arrays import Embeddings
from ..config import Config
from ..datasets.loaders import build_loaders, build_ood_loaders, with_batches
from ..datasets.skipped import SkippedClip, remark_note, skip_note
from ..embeddings.store import EmbeddingStore
from ..errors import UserError
from ..files import file_sha256, text_sha256
from ..files.atomic import write_npz
from ..files.paths import resolve_inside
from ..networks import build_network
from ..postprocessors.protocol import head_of
from ..progress import progress_bar
from ..ranks import barrier, gather, is_first, one_holding, share_batches
from ..registry import PIPELINES
from ..vocabulary import CSID, LOADER_GROUPS, OOD_VAL, TEST_GROUPS
from .checks import check_config, check_trained
from .conditions import read_conditions, store_name
from .device import choose_device, set_determinism
from .digest import effective_config

DATA_KEYS = ("benchmark_version", "modified", "standardize", "standardize_from")


class _Rows(NamedTuple):
    rows: NDArray[np.int64]
    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    modality_logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    clips: list[str]


@torch.inference_mode()
def _embed(net: nn.Module, loader: DataLoader[Any], description: str, quiet: bool) -> Iterator[_Rows]:
    net.eval()
    device = next(net.parameters()).device
    for batch in progress_bar(loader, desc=description, unit="batch", leave=False, quiet=quiet):
        if not len(batch["label"]):  # all of its clips were skipped
            continue
        output = net.forward_modalities(batch["data"].to(device, non_blocking=True))  # type: ignore[operator]
        yield _Rows(
            batch["index"].numpy(),
            output.features.float().cpu().numpy(),
            output.logits.float().cpu().numpy(),
            torch.stack(list(output.modality_logits.values()), dim=1).float().cpu().numpy(),
            batch["label"].numpy(),
            list(batch["clip"]),
        )


def extract_embeddings(
    net: nn.Module, loader: DataLoader[Any], description: str = "Extract", quiet: bool = True
) -> Embeddings:
    """Return the embeddings of all samples of ``loader``'s dataset, in memory; those that it skips are left out.

    Args:
        net: a `MultimodalNetwork`.
        loader: in the dataset's own order (not shuffled), without augmentation.
        description: what the progress bar says.
        quiet: no progress bar.

    Raises:
        UserError: when every clip is skipped.
    """
    parts = list(_embed(net, loader, description, quiet))
    if not parts:
        raise UserError(f"none of the {len(loader.dataset)} clips of {description} can be read.")  # type: ignore[arg-type]
    columns = [np.concatenate([part[i] for part in parts]) for i in range(5)]
    order = np.argsort(columns[0], kind="stable")
    features, logits, modality_logits, labels = (column[order] for column in columns[1:])
    clips = [clip for part in parts for clip in part.clips]
    return Embeddings(
        features=features,
        labels=labels,
        logits=logits,
        modality_logits=modality_logits,
        slices=net.slices,  # type: ignore[arg-type]
        clips=tuple(clips[i] for i in order),
    )


def extract_to_store(
    net: nn.Module,
    loader: DataLoader[Any],
    folder: Path,
    digests: Mapping[str, str],
    description: str = "Extract",
    quiet: bool = True,
) -> EmbeddingStore:
    """Extract into the store at ``folder``, which may exist in part; what is there already isn't computed again.

    A batch that lacks a row is computed whole, so that its rows don't depend on where an earlier run stopped, nor on
    how many `ranks` there are.  Rank 0 alone writes.

    Raises:
        UserError: when the store belongs to another checkpoint, manifest or config; when it lacks clips that could
            not be read, and the dataset is not to skip any.
    """
    dataset: Any = loader.dataset
    if not is_first():
        barrier()  # until rank 0 has made it
    store = EmbeddingStore.create(
        folder,
        num_samples=len(dataset),
        slices=net.slices,  # type: ignore[arg-type]
        num_classes=int(net.num_classes),  # type: ignore[arg-type]
        digests=digests,
        clips=[str(clip) for clip in dataset.manifest.clips],
        modality_logits=True,
    )
    if is_first():
        barrier()
    if not store.complete:
        pending = gather(store.pending())[0]
        for part in _of_all_ranks(_embed(net, _rest(loader, pending), description, quiet or not is_first())):
            if is_first():
                new = np.isin(part.rows, store.pending())
                store.write(*(values[new] for values in part[:5]))
        skipped = sorted(chain.from_iterable(gather(skipped_clips(dataset))))
        remarks = list(chain.from_iterable(gather(clip_remarks(dataset))))
        if is_first():
            store.finish(skipped, remarks)
        barrier()
    elif store.skipped and getattr(dataset, "on_error", "skip") == "raise":
        raise UserError(
            f"{folder} lacks clips that could not be read ({len(store.skipped)} of {len(store)}; the first: "
            f"{store.skipped[0].reason}). Delete the folder to extract them now, or set on_error: skip."
        )
    return store


def clip_remarks(dataset: Any) -> list[str]:
    """Return what a result record has to say of clips in whose files a fault was tolerated so far."""
    note = remark_note(getattr(dataset, "name", ""), tuple(getattr(dataset, "remarks", ())))
    return [note] if note else []


def skipped_clips(dataset: Any) -> tuple[SkippedClip, ...]:
    """Return the clips that a dataset has left out so far; none where it can't."""
    return tuple(getattr(dataset, "skipped", ()))


def _rest(loader: DataLoader[Any], pending: NDArray[np.int64]) -> DataLoader[Any]:
    """Return a loader of those of ``loader``'s batches, as it forms them without shuffling, that have pending rows.

    Of several ranks, each gets its share of them.
    """
    size, total = int(loader.batch_size or 1), len(loader.dataset)  # type: ignore[arg-type]
    wanted = np.unique(pending // size).tolist()
    batches = [list(range(each * size, min((each + 1) * size, total))) for each in wanted]
    return with_batches(loader, share_batches(batches))


def _of_all_ranks(parts: Iterator[_Rows]) -> Iterator[_Rows]:
    """Yield what every rank yields, on every rank, one of each in turn."""
    while any(found := gather(next(parts, None))):
        yield from filter(None, found)


def store_digests(config: Mapping[str, Any], dataset: Any) -> dict[str, str]:
    """Return what an embedding store depends on: checkpoint, manifest, and the config of network and input."""
    effective = effective_config(config)
    network = {k: v for k, v in effective["network"].items() if k not in ("checkpoint", "pretrained")}
    data = {key: dataset.provenance.get(key) for key in DATA_KEYS}  # what the manifest doesn't tell
    text = json.dumps(
        [network, effective.get("preprocessor"), effective["dataset"].get("modalities"), data],
        sort_keys=True,
        default=str,
    )
    digests = {
        "checkpoint": file_sha256(config["network"]["checkpoint"]),
        "manifest": dataset.manifest.digest(),
        "config": text_sha256(text),
    }
    condition = getattr(dataset, "condition", None)  # in full: it says what a record has to say
    return {**digests, "condition": condition} if condition else digests


@PIPELINES.register("multimodal_extract")
class ExtractPipeline:
    """Extract all sets of a benchmark into ``<output_dir>/embeddings/<set>`` and the head into ``head.npz`` there.

    Args:
        config: a test config; needs ``network.checkpoint``.
    """

    takes_ranks: ClassVar[bool] = True
    """Whether several `ranks` may run it together."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        check_config(config, ("dataset", "network"))
        check_trained(config["network"])
        self.config = config
        self.folder = Path(config["output_dir"]) / "embeddings"

    def run(self) -> Path:
        """Extract what is not there yet; return the folder of the stores."""
        config = self.config
        loaders = build_loaders(config, training=False)
        if config.get("ood_dataset"):
            ood_loaders = build_ood_loaders(config, (*TEST_GROUPS, CSID, LOADER_GROUPS[OOD_VAL]))
            for condition in read_conditions(config, config["dataset"].get("modalities") or (), ood_loaders):
                if not condition.at_input and condition.csid is None:
                    raise UserError(
                        "embeddings are extracted clean: give condition.level: input, or test under it."
                    )
                condition.degrade(loaders, ood_loaders)
            loaders |= _flatten(ood_loaders)
        elif is_first():
            print("Note: the config has no ood_dataset, so no OOD set is extracted; give ..._ood.yml too.")
        set_determinism(config)
        net = build_network(config["network"]).to(choose_device(config))
        with one_holding(self.folder):  # a second process waits, and finds the stores complete
            return self._extract(net, loaders)

    def _extract(self, net: nn.Module, loaders: Mapping[str, DataLoader[Any]]) -> Path:
        config = self.config
        if isinstance(config, Config) and is_first():
            config.dump(self.folder.parent / "config.yml")
        for number, (name, loader) in enumerate(loaders.items(), 1):
            began = time.monotonic()
            store = extract_to_store(
                net,
                loader,
                resolve_inside(self.folder, store_name(name, loader.dataset)),
                store_digests(config, loader.dataset),
                f"{name} ({number} of {len(loaders)} sets)",
                quiet=False,
            )
            if not is_first():
                continue
            seconds = time.monotonic() - began
            print(
                f"{self.folder / name}: {len(store) - len(store.skipped)} clips ({seconds:.0f} s)", flush=True
            )
            if store.skipped:
                print(f"Note: {skip_note(name, store.skipped)}. Reasons: meta.json there.", flush=True)
        head = head_of(net)
        assert head is not None
        if is_first():
            write_npz(self.folder / "head.npz", head.arrays())
        return self.folder


def _flatten(ood_loaders: Mapping[str, Any]) -> dict[str, DataLoader[Any]]:
    """Return set name → loader; the validation OOD set is called `OOD_VAL`."""
    flat: dict[str, DataLoader[Any]] = {}
    for group, loaders in ood_loaders.items():
        flat |= {OOD_VAL: loaders} if group == LOADER_GROUPS[OOD_VAL] else loaders
    return flat
