"""Settings stand in setup.cfg; this adds the configs and benchmark splits to the wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

DATA = ("configs", "benchmark_splits", "leaderboard")


class BuildWithData(build_py):
    """Copy the top-level data folders into the package, as ``openood_multimodal/_data``."""

    def run(self):
        super().run()
        if self.editable_mode:
            return  # a checkout's own folders are found where they are
        for name in DATA:
            target = Path(self.build_lib, "openood_multimodal", "_data", name)
            shutil.rmtree(target, ignore_errors=True)
            left_out = shutil.ignore_patterns("index.html", "submissions")
            shutil.copytree(Path(__file__).parent / name, target, ignore=left_out)


setup(cmdclass={"build_py": BuildWithData})
