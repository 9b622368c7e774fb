"""A cluster of Dask: its executor takes the place of this host's pool of processes, and it works on shards of rows.

Dask is an optional extra (``openood-multimodal[cluster]``).  What workers share is a folder; what they are sent are
Python objects, so a scheduler has to be trusted as a shell on its workers has.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from .errors import UserError
from .files.atomic import write_text
from .files.paths import remove
from .version import __version__

SLURM = "slurm"
PATIENCE_S = 30.0
one_at_a_time = threading.Lock()
"""Tasks set a process's threads and seed its random sources: a worker with several threads does one after the other."""


@contextmanager
def cluster_executor(
    scheduler: str, folder: Path, workers: int, resources: dict[str, float]
) -> Iterator[Executor]:
    """Yield an executor that runs on the workers of a Dask scheduler; see `cluster_client`."""
    with cluster_client(scheduler, folder, workers, resources) as client:
        yield client.get_executor(resources=resources or None, pure=False)


@contextmanager
def cluster_client(
    scheduler: str,
    folder: Path | None = None,
    workers: int = 1,
    resources: Mapping[str, float] = MappingProxyType({}),
) -> Iterator[Any]:
    """Yield a client of a Dask scheduler, whose workers have been looked at.

    Args:
        scheduler: an address, ``tcp://host:8786``; a scheduler's JSON file; or ``slurm``, whose jobs are made as
            dask-jobqueue's configuration (``~/.config/dask/jobqueue.yaml``) says.
        folder: of the output, where every worker must see it.
        workers: of ``slurm``: jobs to ask for.
        resources: what a worker must have for a task, ``{"GPU": 1}``; workers are started with ``--resources``.

    Raises:
        UserError: when Dask is not installed, the scheduler can't be reached, or a worker has another version, or
            doesn't see the folder.
    """
    try:
        from distributed import Client
    except ImportError:
        raise UserError(
            "--scheduler needs Dask: pip install 'openood-multimodal[cluster]', here and on every worker."
        ) from None
    with _cluster(scheduler, workers) as where:
        try:
            client = Client(**where, timeout=PATIENCE_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise UserError(
                f"there is no Dask scheduler at {scheduler} ({error}); start one with 'dask scheduler', and workers "
                "with 'dask worker ADDRESS --nthreads 1'."
            ) from None
        with client:
            _check_workers(client, scheduler, folder, resources)
            yield client


@contextmanager
def _cluster(scheduler: str, workers: int) -> Iterator[dict[str, Any]]:
    """Yield what a client is told of its scheduler."""
    if scheduler != SLURM:
        yield {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
        return
    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError:
        raise UserError("--scheduler slurm needs dask-jobqueue: pip install dask-jobqueue") from None
    try:
        cluster = SLURMCluster()
    except (ValueError, OSError) as error:
        reason = str(error).partition(", for example")[0]
        raise UserError(
            f"--scheduler slurm: {reason}: say in ~/.config/dask/jobqueue.yaml what a job needs (cores: 1, memory, "
            "queue); see dask-jobqueue's documentation."
        ) from None
    with cluster:
        cluster.scale(jobs=workers)
        print(f"Asked SLURM for {workers} jobs; waiting for the first one.", flush=True)
        yield {"address": cluster}


def _check_workers(client: Any, scheduler: str, folder: Path | None, resources: Mapping[str, float]) -> None:
    try:
        client.wait_for_workers(1, timeout=None if scheduler == SLURM else PATIENCE_S)
    except TimeoutError:
        raise UserError(
            f"the Dask scheduler at {scheduler} has no worker; start some with 'dask worker {scheduler} --nthreads 1'."
        ) from None
    known = client.scheduler_info(n_workers=-1)["workers"].values()
    able = [each for each in known if all(each["resources"].get(k, 0) >= v for k, v in resources.items())]
    if not able and scheduler != SLURM:
        asked = " ".join(f"{name}={amount:g}" for name, amount in resources.items())
        raise UserError(
            f"none of the {len(known)} workers of {scheduler} has the resources {asked}; start workers with "
            f"--resources '{asked}'."
        )
    if folder is None:
        answers = client.run(_about_worker, str(Path.cwd()))
    else:
        folder.mkdir(parents=True, exist_ok=True)
        token = f".shared-{uuid4().hex}"
        write_text(folder / token, "")
        try:
            answers = client.run(_about_worker, str((folder / token).resolve()))
        finally:
            remove(folder, token)
    mine = _about_worker("")
    for address, theirs in answers.items():
        for name in ("openood-multimodal", "torch"):
            if theirs[name] != mine[name]:
                raise UserError(
                    f"the worker {address} on {theirs['host']} has {name} {theirs[name]}, and this host {mine[name]}; "
                    "install the same version on both."
                )
        if folder is not None and not theirs["sees"]:
            raise UserError(
                f"the worker {address} on {theirs['host']} doesn't see {folder.resolve()}; --output-dir must be a "
                "folder that all workers share."
            )


def _about_worker(path: str) -> dict[str, Any]:
    versions = {"openood-multimodal": __version__, "torch": metadata.version("torch")}
    return {**versions, "host": platform.node(), "sees": Path(path).is_file()}


def lost(error: BaseException, what: str, kept: str = "") -> UserError | None:
    """Return what to say of a task that was lost with the scheduler or with its workers; None for another error.

    Args:
        error: what Dask says of the task.
        what: the task.
        kept: what isn't lost, with a colon.
    """
    if isinstance(error, CancelledError):
        return UserError(
            f"the Dask scheduler went away while {what} and others ran; {kept}start scheduler and workers "
            "again (they end with it), and give the same command."
        )
    if type(error).__name__ == "KilledWorker":  # of an optional package
        return UserError(
            f"{what}: its workers died one after the other (killed, perhaps for memory); {kept}run the same command "
            "again, with more memory for a worker."
        )
    return None
