"""``openood-mm prepare audio``: the sound of the videos that a manifest names, as 16 kHz mono WAV files."""

from __future__ import annotations

from collections.abc import Sequence

from ..making.audio import make_audio
from ..workers import worker_count
from .parsers import option_names, subparser
from .prepare_missing import add_options, report

EXAMPLES = """  # the WAV files that Kinetics-600 needs
  openood-mm prepare audio --manifest manifests/kinetics600_129_100 --root /data/Kinetics-600
"""


def main(argv: Sequence[str]) -> int:
    """Make the sound files that are missing; 1 where some videos have no sound or could not be used."""
    parser = subparser(
        "prepare audio",
        "Make the sound files that a download lacks: 16 kHz, mono, 16 bit, as the authors' ffmpeg -ar 16000 -ac 1,\n"
        "where the manifest's column audio says. Files that are there are left alone; after an interruption the same\n"
        "command goes on. Videos without sound are listed in audio_failed.txt (exit code 1).",
        EXAMPLES,
    )
    add_options(parser, "audio")
    options = parser.parse_args(list(argv))
    with option_names():
        made = make_audio(
            options.manifest,
            options.root,
            options.out,
            overwrite=options.overwrite,
            follow_links=options.follow_links,
            workers=worker_count(options.workers),
            progress=True,
        )
    return report("audio", made)
