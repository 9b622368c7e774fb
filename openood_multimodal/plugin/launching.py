"""OpenOOD's ``launch`` with several processes: each registers before it runs the script's ``main``.

A spawned process first imports the main script again, without plugin, placeholders and CPU mode, and only then
unpickles what it is to do.  So the script is hidden from `multiprocessing` while the processes are started,
and what they are given is a `ChildMain`, which registers and then loads the script itself.
"""

from __future__ import annotations

import importlib.util
import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from ..errors import UserError


@dataclass(frozen=True)
class ChildMain:
    """The script's main function, to be found again in another process.

    Attributes:
        module: the module that defines it; ``__main__`` for the script itself.
        name: its qualified name.
        script: path of the script, where ``module`` is ``__main__``.
        package: what the script's relative imports start from.
        register: called first; to be pickled, as everything here.
    """

    module: str
    name: str
    script: str | None
    package: str | None
    register: Callable[[], None]

    @classmethod
    def of(cls, function: Callable[..., Any], register: Callable[[], None]) -> ChildMain:
        """Describe ``function``."""
        main = sys.modules["__main__"]
        script = getattr(main, "__file__", None) if function.__module__ == "__main__" else None
        package = getattr(main, "__package__", None)
        return cls(function.__module__, function.__qualname__, script, package, register)

    def __call__(self, *args: Any) -> Any:
        """Register, then call the function; runs in the child."""
        self.register()
        module = importlib.import_module(self.module) if self.script is None else self._script(self.script)
        return operator.attrgetter(self.name)(module)(*args)

    def _script(self, path: str) -> ModuleType:
        # the name is multiprocessing's own for the main script of a child; the file sees that it isn't __main__
        spec = importlib.util.spec_from_file_location("__mp_main__", path)
        if spec is None or spec.loader is None:
            raise UserError(f"{path} can't be run in another process: it is no Python file.")
        module = importlib.util.module_from_spec(spec)
        module.__package__ = self.package
        sys.modules["__main__"] = sys.modules["__mp_main__"] = module
        spec.loader.exec_module(module)
        return module


@contextmanager
def hidden_main() -> Iterator[None]:
    """Keep processes that are started in the block from importing the main script."""
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {
        name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)
    }
    main.__spec__ = None
    try:
        yield
    finally:
        del main.__spec__
        vars(main).update(hidden)


def launch(
    original: Callable[..., Any],
    register: Callable[[], None],
    main_func: Callable[..., Any],
    num_gpus_per_machine: int,
    num_machines: int = 1,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """OpenOOD's ``launch``, whose processes know this package.

    Raises:
        UserError: for more processes than GPUs, in an OpenOOD whose processes talk by NCCL.
    """
    if num_gpus_per_machine * num_machines <= 1:
        return original(main_func, num_gpus_per_machine, num_machines, *args, **kwargs)
    _check_gpus(original, num_gpus_per_machine)
    child = ChildMain.of(main_func, register)
    with hidden_main():
        return original(child, num_gpus_per_machine, num_machines, *args, **kwargs)


def _check_gpus(original: Callable[..., Any], asked: int) -> None:
    there = torch.cuda.device_count()
    if asked > there and "_distributed_worker" in getattr(original, "__globals__", {}):
        raise UserError(
            f"num_gpus is {asked}, and this machine has {there or 'no'} GPU{'s' if there > 1 else ''}: each of "
            f"OpenOOD's processes needs one of its own. Set --num_gpus {max(there, 1)}; on a CPU, 1 is right."
        )
