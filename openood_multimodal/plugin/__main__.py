"""``python -m openood_multimodal.plugin main.py --config ...``: register, then run an unmodified script.

Exit codes are those of ``openood-mm``: 2 for bad input, 130 when interrupted; else the script's own.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from .host import VARIABLE, find_openood

EXAMPLES = """examples (in the folder of an OpenOOD checkout):
  python -m openood_multimodal.plugin main.py --config configs/datasets/htad/htad_4_3.yml \\
      configs/networks/mlp_fusion.yml configs/pipelines/train/a2d_npmix.yml
  python -m openood_multimodal.plugin main.py --config configs/datasets/htad/htad_4_3.yml \\
      configs/datasets/htad/htad_4_3_ood.yml configs/networks/mlp_fusion.yml \\
      configs/pipelines/test/near_ood.yml configs/postprocessors/knn.yml --pipeline.name test_ood \\
      --postprocessor.APS_mode False --network.checkpoint results/<run>/best.ckpt
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m openood_multimodal.plugin",
        description="Run a script of an unmodified OpenOOD with openood-multimodal's datasets, networks, "
        "trainers, scores and pipelines.\nConfig files are looked up in the working directory, in the OpenOOD "
        f"checkout, and among the packaged ones. OpenOOD is found by {VARIABLE} or beside the script.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--no-cpu", action="store_true", help="don't turn .cuda() into a no-op where there is no CUDA device"
    )
    parser.add_argument("script", metavar="SCRIPT", help="for instance main.py")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="the script's own")
    options = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="openood-multimodal-") as scratch:
            _run(options.script, options.arguments, not options.no_cpu, Path(scratch))
    except UserError as error:
        print(f"openood-multimodal: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nopenood-multimodal: interrupted.", file=sys.stderr)
        return 130
    return 0


def _run(script_name: str, arguments: Sequence[str], cpu: bool, scratch: Path) -> None:
    from . import register
    from .arguments import prepare_arguments
    from .benchmarks import names_benchmark, run_script

    script = _find_script(script_name)
    root = find_openood(script=script)
    words = prepare_arguments(list(arguments), root, scratch)
    # as `python main.py` would have it; this package stays importable for processes that are started
    package = str(Path(__file__).resolve().parents[2])
    if not sys.flags.safe_path:
        sys.path[0] = str(script.parent)
    if package not in map(os.path.abspath, sys.path):
        sys.path.append(package)
    register(cpu=cpu, root=root)
    sys.argv = [str(script), *words]
    if names_benchmark(words):
        run_script(script, words)
    else:
        runpy.run_path(str(script), run_name="__main__")


def _find_script(name: str) -> Path:
    script = Path(name)
    root = os.environ.get(VARIABLE)
    if not script.is_file() and root and (Path(root) / name).is_file():
        script = Path(root) / name
    if not script.is_file():
        if root:
            find_openood()  # says it where the folder is not OpenOOD's at all
        where = f"{Path.cwd()} nor in {root} ({VARIABLE})" if root else f"{Path.cwd()}; {VARIABLE} is not set"
        raise UserError(f"there is no script '{name}', neither in {where}. Name OpenOOD's main.py.")
    script = script.resolve()
    if script == Path(__file__).resolve().parents[2] / "main.py":
        raise UserError(
            f"{script} is this package's own main.py, which needs no OpenOOD: run it without "
            f"'-m openood_multimodal.plugin', or name OpenOOD's (${VARIABLE}/main.py)."
        )
    return script


if __name__ == "__main__":
    sys.exit(main())
