"""Reads damaged, hostile and huge files as the commands do, and checks what comes of it.

    python tests/fuzz/fuzz.py --count 30000 --seed 1        all kinds
    python tests/fuzz/fuzz.py --kinds checkpoint state      some

For every input: a value or a `UserError`; within 10 seconds of computing; with less than 2 GB more memory than before;
no file written, renamed or removed outside the input's own folder, no process started, no connection made.  What breaks
a rule is kept in ``--keep`` (default: a temporary folder that is named at the end).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzz_bombs import bombs_for
from fuzz_kinds import Kind, kinds, place
from fuzz_mutations import mutated

SECONDS = 10
BYTES = 2 * 10**9
_WRITES = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "shutil.rmtree",
)
_NEVER = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class")


class Hang(BaseException):
    """Raised in a reader that takes too long; no `except Exception` stops it."""


class Watch:
    """Notes what the interpreter's audit events say of files outside the allowed folder and of processes."""

    def __init__(self, allowed: Path) -> None:
        self.allowed = os.path.realpath(allowed)
        self.found: list[str] = []
        self.on = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in _NEVER:
            self.found.append(f"{event} {args!r:.80}")
        elif event in _WRITES or (event == "open" and _writes(args)):
            for path in args[:2] if event in ("os.rename", "os.link", "os.symlink") else args[:1]:
                if isinstance(path, (str, bytes, os.PathLike)) and not self._inside(os.fsdecode(path)):
                    self.found.append(f"{event} {path!r}")

    def _inside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return (
            real == self.allowed
            or real.startswith(self.allowed + os.sep)
            or "__pycache__" in real
            or real == os.devnull
        )


def _writes(args: tuple[Any, ...]) -> bool:
    mode, flags = (args[1], args[2]) if len(args) > 2 else ("r", 0)
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


@contextlib.contextmanager
def _limited_time() -> Iterator[None]:
    """Stop the block after `SECONDS` of computing, or six times as long of waiting."""

    def stop(*_: Any) -> None:
        raise Hang

    before = {each: signal.signal(each, stop) for each in (signal.SIGALRM, signal.SIGPROF)}
    signal.alarm(6 * SECONDS)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for each, handler in before.items():
            signal.signal(each, handler)


def run_one(kind: Kind, data: bytes, folder: Path, watch: Watch) -> str:
    """Read one input; return what it broke, ``""`` for nothing."""
    from openood_multimodal.errors import UserError

    place(kind, folder, data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    fault = ""
    watch.found.clear()
    watch.on = True
    try:
        with _limited_time():
            kind.read(folder)
    except UserError as error:
        text = str(error)
        fault = (
            "a message without a name"
            if len(text) < 10
            else "a message of more than 3000 letters" * (len(text) > 3000)
        )
    except Hang:
        fault = f"more than {SECONDS} s"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        own = [f for f in traceback.extract_tb(error.__traceback__) if "openood_multimodal" in f.filename]
        at = own[-1] if own else last
        fault = f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {error!s:.80}"
    finally:
        watch.on = False
    if watch.found:
        fault = f"outside its folder: {watch.found[0]}"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - peak
    return fault or (f"{grown / 1e9:.1f} GB of memory" if grown > BYTES else "")


def inputs(kind: Kind, count: int, seed: int, bombs: bool) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of a kind's inputs: its valid file, the bombs, and ``count`` seeded mutations."""
    data = kind.files[kind.target]
    yield "valid", data
    if bombs:
        yield from bombs_for(kind.target)
    rng = random.Random(zlib.crc32(f"{seed} {kind.name}".encode()))
    for number in range(count):
        yield f"{number}", mutated(rng, data, kind.text)


def run(
    folder: Path, count: int, seed: int, names: list[str] | None = None, bombs: bool = True, say: Any = print
) -> list[tuple[str, str, str, bytes]]:
    """Read ``count`` mutations in all; return (kind, input, fault, content) of those that broke a rule."""
    every = [kind for kind in kinds(folder / "made") if not names or kind.name in names]
    watch = Watch(folder / "input")
    share = -(-count // len(every))
    broken = []
    for kind in every:
        faults: Counter[str] = Counter()
        slowest = (0.0, "")
        number = 0  # of inputs
        for number, (name, data) in enumerate(inputs(kind, share, seed, bombs), 1):  # noqa: B007
            start = time.process_time()
            fault = run_one(kind, data, folder / "input", watch)
            slowest = max(slowest, (time.process_time() - start, name))
            if name == "valid" and not fault:
                fault = _refused(kind, folder / "input")
            if fault:
                faults[fault.partition(": ")[0]] += 1
                broken.append((kind.name, name, fault, data))
        said = f"{kind.name}: {number} inputs, {sum(faults.values())} faults, slowest {slowest[0]:.1f} s ({slowest[1]})"
        say("\n    ".join([said, *(f"{n} x {fault}" for fault, n in faults.most_common(8))]))
    return broken


def _refused(kind: Kind, folder: Path) -> str:
    try:
        kind.read(folder)
    except ValueError as error:
        return f"the valid file is refused: {error}"
    return ""


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=30000, help="inputs in all (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+")
    parser.add_argument("--no-bombs", action="store_true")
    parser.add_argument("--keep", metavar="DIR", help="folder for inputs that broke a rule")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        broken = run(Path(scratch), options.count, options.seed, options.kinds, not options.no_bombs)
    if broken:
        keep = Path(options.keep or tempfile.mkdtemp(prefix="fuzz-"))
        keep.mkdir(parents=True, exist_ok=True)
        for number, (kind, name, fault, data) in enumerate(broken[:200]):
            (keep / f"{number:03d}").write_bytes(data)
            with (keep / "faults.txt").open("a") as log:
                log.write(f"{number:03d}\t{kind}\t{name}\t{fault}\n")
        print(f"{len(broken)} inputs broke a rule; kept in {keep}")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
