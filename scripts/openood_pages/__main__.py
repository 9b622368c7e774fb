"""Write the pages of docs/ that say what of OpenOOD runs, each by running it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hosts_page
import support_page
import torch
import trainers_page
from pages import COMMAND

from openood_multimodal.errors import UserError
from openood_multimodal.files.atomic import write_text
from openood_multimodal.plugin.host import VARIABLE, find_openood

PAGES = {"postprocessors": support_page, "hosts": hosts_page, "trainers": trainers_page}
EXAMPLES = f"""examples:
  {COMMAND} postprocessors --openood-root path/to/OpenOOD --out docs/openood-postprocessors.md
  {COMMAND} postprocessors --cases none            # without the comparison of the engines; prints the page
  {COMMAND} trainers --openood-root path/to/OpenOOD --out docs/openood-trainers.md
  {COMMAND} hosts --openood-root path/to/OpenOOD --openood-root path/to/OpenOOD-v1.5 --out docs/openood-hosts.md
  {COMMAND} hosts --problem tables --only msp,vim  # a quick look

The pages are made of seeded data: the same OpenOOD and the same packages give the same page.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write a page; return the exit code: 1 where what it reports is a fault, 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pages = parser.add_subparsers(dest="page", required=True, metavar="PAGE")
    for name, module in PAGES.items():
        each = pages.add_parser(name, help=str(module.__doc__).splitlines()[0], description=module.__doc__)
        several = "; may be repeated" if name == "hosts" else ""
        each.add_argument(
            "--openood-root",
            action="append",
            help=f"OpenOOD's folder{several} (default: the variable {VARIABLE})",
        )
        each.add_argument("--out", type=Path, help="file to write (default: print the page)")
        module.add_options(each)
    options = parser.parse_args(argv)
    if options.openood_root and options.page != "hosts":
        os.environ[VARIABLE] = str(Path(options.openood_root[-1]).resolve())
    torch.set_num_threads(1)  # sums of several threads differ in the last digit
    try:
        roots = [str(find_openood(root)) for root in options.openood_root or [None]]
        text, faults = PAGES[options.page].make(roots, options)
        if options.out:
            write_text(options.out, text)
        else:
            print(text, end="")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for fault in faults:
        print(fault, file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
