"""``python main.py --config ...`` is ``openood-mm run --config ...``, as OpenOOD's users write it."""

import sys

from openood_multimodal.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
