"""``python -m openood_multimodal`` is ``openood-mm``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
