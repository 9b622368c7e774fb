"""One process, or several spawned ones."""

import socket
from datetime import timedelta

import torch.distributed as dist
import torch.multiprocessing as mp


def launch(
    main_func,
    num_gpus_per_machine,
    num_machines=1,
    machine_rank=0,
    dist_url=None,
    args=(),
    timeout=timedelta(minutes=1),
):
    if num_gpus_per_machine * num_machines <= 1:
        main_func(*args)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    mp.spawn(_worker, nprocs=num_gpus_per_machine, args=(main_func, num_gpus_per_machine, url, args, timeout))


def _worker(rank, main_func, world_size, url, args, timeout):
    dist.init_process_group("gloo", init_method=url, world_size=world_size, rank=rank, timeout=timeout)
    main_func(*args)
    dist.destroy_process_group()
