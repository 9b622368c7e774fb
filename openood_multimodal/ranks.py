"""Ranks: the processes that ``torchrun`` starts, which train one network, or extract with it, together.

Without ``torchrun`` there is one rank, nothing is sent, and torch isn't imported.  Every rank holds the whole network
and encodes its share of each batch.  What is computed of embeddings (heads, losses, outliers, banks) sees the samples
of all ranks, in the order of the batch, on every rank: so a training is the same one, however many ranks it has.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from .errors import UserError, out_of_memory
from .files import holding
from .files.atomic import write_text
from .files.paths import remove
from .version import __version__

T = TypeVar("T")

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells every process."""

COMMAND = "torchrun --standalone --nproc-per-node N -m openood_multimodal run --config ..."
PATIENCE_S = 300.0
"""How long a rank waits for the others to start."""

STALL = timedelta(hours=2)
"""How long a rank waits for another one at work: rank 0 may have to wait for a folder, or to digest a large store."""

_together = False


def world() -> int:
    """Return the number of ranks: 1 outside of `together`."""
    return int(os.environ["WORLD_SIZE"]) if _together else 1


def rank() -> int:
    """Return this process's rank, from 0."""
    return int(os.environ["RANK"]) if _together else 0


def is_first() -> bool:
    """Whether this is rank 0, which alone writes files and shows progress."""
    return rank() == 0


def local() -> tuple[int, int]:
    """Return this rank's number among those of its host, and theirs."""
    return (int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])) if _together else (0, 1)


def launched() -> bool:
    """Whether this process was started as one rank of several.

    Raises:
        UserError: when the variables of its environment don't make a launch.
    """
    given = {name: os.environ.get(name, "") for name in VARIABLES}
    if given["WORLD_SIZE"] in ("", "1"):
        return False
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
        raise UserError(
            "torchrun has restarted the ranks (--max-restarts), at a store that still has the addresses of those that "
            "ended, where new ones may wait for ever; give the whole command again, without it: it resumes."
        )
    lacking = [name for name in VARIABLES if not given[name]]
    if lacking:
        raise UserError(
            f"WORLD_SIZE is {given['WORLD_SIZE']} in this environment, and {', '.join(lacking)} not set: start the "
            f"ranks with {COMMAND}, or unset WORLD_SIZE for one process."
        )
    wrong = [name for name in VARIABLES if name != "MASTER_ADDR" and not given[name].isdecimal()]
    if wrong or not int(given["RANK"]) < int(given["WORLD_SIZE"]):
        shown = ", ".join(f"{name}={given[name]}" for name in wrong or ("RANK", "WORLD_SIZE"))
        raise UserError(f"{shown} in this environment: RANK must be below WORLD_SIZE; start with {COMMAND}.")
    return True


@contextmanager
def together(patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Join the other ranks for the block; nothing without torchrun.

    When a rank fails, it says so with its number, and the others end without a word.

    Args:
        patience_s: how long to wait for the others to start.

    Raises:
        UserError: when a rank doesn't come, has no GPU where others have, or runs another version.
    """
    global _together
    if not launched():
        yield
        return
    store, every = _meet(patience_s)
    _together = True
    try:
        _check_alike(every)
        _connect(store)
        yield
        barrier()  # rank 0 may still be writing
        _distributed().destroy_process_group()  # not after a failure: the others may never come to it
    except KeyboardInterrupt:
        if not is_first():  # all of them are interrupted
            raise SystemExit(130) from None
        raise
    except Exception as error:
        if not _fails_first(store):
            raise SystemExit(1) from None
        told = error if isinstance(error, UserError) else out_of_memory(error) or _left_alone(error)
        _tell_torchrun(told or error)
        if told is not None:
            raise UserError(f"{_name()}: {told}") from error
        print(f"openood-mm: {_name()}:", file=sys.stderr)
        raise
    finally:
        _together = False


def _meet(patience_s: float) -> tuple[Any, list[dict[str, Any]]]:
    """Return the store that the ranks meet at, and what each of them says of itself."""
    # or torch warns, on every rank, that a flag for unused parameters is set where none is unused
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch

    mine = {
        "openood-multimodal": __version__,
        "torch": torch.__version__,
        "host": platform.node(),
        "gpus": _gpus(),
        "local": (int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])),
    }
    host, port, count = (os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE"))
    try:
        store, number, ranks = next(
            _distributed().rendezvous("env://", timeout=timedelta(seconds=patience_s))
        )
        store.set(f"openood_multimodal/{number}", json.dumps(mine))
        return store, [json.loads(store.get(f"openood_multimodal/{each}")) for each in range(ranks)]
    except (RuntimeError, ValueError) as error:  # DistNetworkError, DistStoreError
        reason = str(error).split("\n")[0][:300]
    if "EADDRINUSE" in reason:
        raise UserError(
            f"{_name()}: port {port} of {host} is in use by another program; give another one (--master-port, or "
            "MASTER_PORT); on one host, torchrun --standalone finds a free one."
        )
    raise UserError(
        f"{_name()}: the {count} ranks did not come together at {host}:{port} within {patience_s:.0f} s ({reason}). "
        f"{count} processes must be started in all, with the same --nnodes and --rdzv-endpoint on every host, and the "
        "port must be free and open; on one host, --standalone finds a free one."
    )


def _check_alike(every: list[dict[str, Any]]) -> None:
    """Compare the ranks before they connect: with another version, or device, they might wait for ever."""
    first = every[0]
    for number, each in enumerate(every):
        for package in ("openood-multimodal", "torch"):
            if each[package] != first[package]:
                raise UserError(
                    f"{package} is {first[package]} on {first['host']} and {each[package]} on {each['host']}; "
                    "install the same version on every host."
                )
        place, here = each["local"]
        if any(other["gpus"] for other in every) and place >= each["gpus"]:
            raise UserError(
                f"rank {number} has no GPU of its own, and others have: {each['host']} has {each['gpus']}, and {here} "
                "ranks were started on it; give torchrun --nproc-per-node the number of GPUs of a host, or hide the "
                "GPUs of every host (CUDA_VISIBLE_DEVICES=) to use CPUs."
            )


def _connect(store: Any) -> None:
    """Make the process group."""
    import torch

    gpus = _gpus()
    try:
        if gpus:
            torch.cuda.set_device(local()[0])
        _distributed().init_process_group(
            "cpu:gloo,cuda:nccl" if gpus else "gloo",
            store=store,
            rank=rank(),
            world_size=world(),
            timeout=STALL,
        )
        barrier()
    except (RuntimeError, ValueError) as error:
        if out_of_memory(error) or _left_alone(error):
            raise
        names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")[: 2 if gpus else 1]
        chosen = " and ".join(f"{each}={os.environ.get(each, '(not set)')}" for each in names)
        here = ", ".join(name for _, name in socket.if_nameindex())
        reason = str(error).split("\n")[0][:300]
        raise UserError(
            f"the {world()} ranks met, but could not connect to one another ({reason}). {chosen}: it must name a "
            f"network interface that the other hosts reach (this host has {here}), with every TCP port open between "
            "the hosts; not set, it is the interface of the host's name."
        ) from error


def _gpus() -> int:
    """Return the number of GPUs that torch can use: its count alone may include some that it can't."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _name() -> str:
    return f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} on {platform.node()}"


def _distributed() -> Any:
    import torch.distributed

    return torch.distributed


def _fails_first(store: Any) -> bool:
    """Whether no other rank has failed before: what fails now may only be the connection to it."""
    own = os.environ["RANK"]
    try:
        return bool(store.compare_set("openood_multimodal/failed", "", own).decode() == own)
    except RuntimeError:  # the host of the store has gone
        return False


def _tell_torchrun(error: Exception) -> None:
    """Give torchrun what its own report, the last that a user sees, is to say."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    get_error_handler().record_exception(type(error)(*error.args) if isinstance(error, UserError) else error)


def _left_alone(error: Exception) -> UserError | None:
    """Return what to say where the connection to another rank broke, which said nothing; None for other errors."""
    broken = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")
    if not isinstance(error, RuntimeError) or not any(each in str(error) for each in broken):
        return None
    return UserError(
        "another rank ended without a word (killed, perhaps for memory; torchrun's report below says which). Give the "
        "same command again: it goes on from what was saved."
    )


def barrier() -> None:
    """Wait until every rank is here."""
    if _together:
        _distributed().barrier()


def gather(value: T) -> list[T]:
    """Return every rank's ``value``, in the order of ranks, on every rank."""
    if not _together:
        return [value]
    values: list[Any] = [None] * world()
    _distributed().all_gather_object(values, value)
    return values


def gather_counts(count: int) -> list[int]:
    """Return every rank's ``count``, as `gather`, but quickly."""
    if not _together:
        return [count]
    import torch

    counts = [torch.empty(1, dtype=torch.int64) for _ in range(world())]
    _distributed().all_gather(counts, torch.tensor([count]))
    return [int(each) for each in counts]


def gather_in_turn(values: Sequence[T]) -> list[T]:
    """Return what ranks that `share_batches` have computed of each batch, in the order of the batches."""
    parts = gather(list(values))
    return [part[i] for i in range(max(map(len, parts))) for part in parts if i < len(part)]


@contextmanager
def one_holding(folder: Path) -> Iterator[None]:
    """Hold a folder for the block, by rank 0 for all; see `files.holding`.

    Raises:
        UserError: when the ranks' hosts don't share the folder.
    """
    if not _together:
        with holding(folder):
            yield
        return
    if is_first():
        with holding(folder):
            _check_shared(folder)
            yield
            barrier()
    else:
        _check_shared(folder)
        yield
        barrier()


def _check_shared(folder: Path) -> None:
    token = gather(f".shared-{uuid4().hex}")[0]
    if is_first():
        write_text(folder / token, "")
    barrier()
    seen = gather(((folder / token).is_file(), platform.node()))
    if is_first():
        remove(folder, token)
    for there, host in seen:
        if not there:
            raise UserError(
                f"{folder} on {host} is not the folder of rank 0 ({seen[0][1]}): ranks on several hosts need one "
                "--output_dir on a file system that they share."
            )


def share_batches(batches: Sequence[list[int]]) -> list[list[int]]:
    """Return this rank's of some batches: every `world`-th; see `gather_in_turn`."""
    return list(batches)[rank() :: world()]


class ShareOfBatches:
    """The samples of this rank of every batch of a batch sampler; a short last batch is left out.

    Args:
        batches: a batch sampler that draws the same batches on every rank.
        batch_size: of all ranks together.
        key: the config's, for messages.

    Raises:
        UserError: when the ranks can't have equal shares.
    """

    def __init__(self, batches: Any, batch_size: int, key: str = "dataset.train.batch_size") -> None:
        if batch_size % world():
            raise UserError(
                f"{key} is {batch_size}, of all ranks together, and {world()} ranks can't have equal shares of it; set "
                f"a multiple of {world()}."
            )
        self.batches = batches
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        share = self.batch_size // world()
        for batch in self.batches:
            if len(batch) == self.batch_size:
                yield batch[rank() * share : (rank() + 1) * share]
