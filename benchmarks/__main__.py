"""``python -m benchmarks``."""

from __future__ import annotations

import sys

from .suite.threads import set_threads, threads_asked

if __name__ == "__main__":
    set_threads(threads_asked(sys.argv[1:]))  # before the import below loads NumPy, which reads it once

    from .suite.command import main

    sys.exit(main(sys.argv[1:]))
