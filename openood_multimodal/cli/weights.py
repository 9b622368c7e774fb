"""``openood-mm weights``: which published weights there are, where to get them, and whether a file fits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from .parsers import subparser

if TYPE_CHECKING:
    from ..networks.clips.published_weights import PublishedWeights

EXAMPLES = """  # what there is, where it is published, which files are in weights/ already
  openood-mm weights

  # does a file fit an encoder?  Every weight that is missing, unexpected or of another shape is counted
  openood-mm weights --check weights/slowonly_r50_8x8x1_256e_kinetics400_flow_20200704-6b384243.pth \\
      --encoder slowonly_r50_flow
"""


def main(argv: Sequence[str]) -> int:
    """List published weights, or check a file; return 1 where a file doesn't fit whole."""
    from ..networks.clips.published_weights import DEFAULT_DIR, ENCODER_WEIGHTS, NETWORK_WEIGHTS

    parser = subparser(
        "weights",
        "List the published weights that encoders and networks take.  Nothing is downloaded: put a file into the\n"
        "folder under the name given, and name it in a config, or use configs/networks/*.yml, which do.",
        EXAMPLES,
    )
    parser.add_argument(
        "--dir", default=DEFAULT_DIR, metavar="DIR", help="folder of weights (default %(default)s)"
    )
    parser.add_argument(
        "--check", metavar="FILE", help="load this file and say what matched; needs --encoder"
    )
    parser.add_argument(
        "--encoder", metavar="NAME", help="the encoder to load it into (openood-mm list encoders)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(list(argv))
    if bool(options.check) != bool(options.encoder):
        raise UserError("--check FILE and --encoder NAME go together.")
    if options.check:
        return _check(Path(options.check), options.encoder)
    folder = Path(options.dir)
    if options.json:
        print(json.dumps([_row(each, folder) for each in (*ENCODER_WEIGHTS, *NETWORK_WEIGHTS)], indent=2))
        return 0
    print(f"Encoders (network.encoders.<modality>.checkpoint); folder {folder}:\n")
    for each in ENCODER_WEIGHTS:
        _print(each, folder)
    print("Whole networks of MultiOOD's authors (network.checkpoint with network.pretrained true):\n")
    print(f"  {NETWORK_WEIGHTS[0].url}")
    for each in NETWORK_WEIGHTS:
        state = "here" if (folder / each.file).is_file() else "not here"
        print(f"  {each.file:<38}{state:<10}{each.trained_on}")
    return 0


def _row(each: PublishedWeights, folder: Path) -> dict[str, str | bool]:
    return {
        "file": each.file,
        "encoder": each.encoder,
        "trained_on": each.trained_on,
        "url": each.url,
        "published_as": each.published_as or each.file,
        "sha256_start": each.digest_start,
        "present": (folder / each.file).exists(),
    }


def _print(each: PublishedWeights, folder: Path) -> None:
    path = folder / each.file
    state = "not here"
    if path.exists():
        state = each.fault(path) or ("here, digest as published" if each.digest_start else "here")
    print(f"  {each.encoder:<20}{each.file}")
    renamed = f"  (there called {each.published_as})" if each.published_as else ""
    print(f"  {'':<20}{each.trained_on}; {state}")
    print(f"  {'':<20}{each.url}{renamed}\n")


def _check(path: Path, name: str) -> int:
    from ..networks.clips.catalogue import build_encoder
    from ..networks.clips.published_weights import ENCODER_WEIGHTS
    from ..networks.clips.weights import load_encoder

    encoder = build_encoder(name)
    known = next((each for each in ENCODER_WEIGHTS if each.file == path.name), None)
    fault = known.fault(path) if known and path.is_file() else ""
    if fault:
        raise UserError(f"{path}: {fault}.")
    report = load_encoder(encoder, name, path)
    print(f"{path} into {name}: {report.text()}.")
    return 0 if report.complete else 1
