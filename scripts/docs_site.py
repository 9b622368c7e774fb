"""MkDocs hooks: the notebooks, executed, and the built leaderboard as pages of the site (``make docs``)."""

import os
import posixpath
import re
import sys
import tempfile
import time
from pathlib import Path
from textwrap import indent
from typing import Any

import griffe
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import BuildError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import ExecutePreprocessor

from openood_multimodal.reporting.leaderboard import build

BOARD = "board.html"
SECONDS = 300
"""A notebook's cell that takes longer stops the build."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the leaderboard's page, and a page for each notebook; the notebook itself stays, to be downloaded."""
    with tempfile.TemporaryDirectory() as folder:
        built = build(folder)
        if built.no_page:
            raise BuildError(f"The site needs the leaderboard's page: {built.no_page}")
        text = Path(folder, "index.html").read_text(encoding="utf-8")
    files.append(File.generated(config, BOARD, content=text))
    # what notebooks run: this environment's commands, and small networks, which gain nothing from threads
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for file in [each for each in files if each.src_uri.endswith(".ipynb")]:
        for made in _notebook(file, config):
            files.append(made)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to a notebook, which GitHub shows, lead to its page in the site."""
    return re.sub(r"(\]\([^)\s]+)\.ipynb([)#])", r"\1.md\2", markdown)


def _notebook(file: File, config: MkDocsConfig) -> list[File]:
    """Execute a notebook in an empty folder; return its page and the images on it."""
    began = time.monotonic()
    notebook = nbformat.reads(file.content_string, as_version=4)
    execute = ExecutePreprocessor(
        timeout=SECONDS, kernel_name="python3", coalesce_streams=True, extra_arguments=["--log-level=ERROR"]
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            execute.preprocess(notebook, {"metadata": {"path": folder}})
        except (CellExecutionError, CellTimeoutError) as error:
            raise BuildError(f"{file.src_uri} can't be executed.\n{error}") from error
    name = posixpath.basename(file.src_uri)
    place = file.src_uri.removesuffix(".ipynb")
    text, made = MarkdownExporter().from_notebook_node(
        notebook, {"output_files_dir": posixpath.basename(place), "unique_key": "figure"}
    )
    print(f"{file.src_uri}: executed in {time.monotonic() - began:.0f} s", flush=True)
    head, title, rest = text.partition("\n\n")[0], *text.partition("\n\n")[1:]
    page = f"{head}{title}[Download this notebook]({name}){{ download }}\n\n{rest}"
    images = [
        File.generated(config, posixpath.join(posixpath.dirname(file.src_uri), path), content=data)
        for path, data in made["outputs"].items()
    ]
    return [File.generated(config, f"{place}.md", content=page), *images]


class Docstrings(griffe.Extension):
    """Keeps Markdown from taking the ``>`` of doctests and of ranges such as ``lr: > 0`` for a quotation."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Put a doctest into a section of its own; escape the other ``>``."""
        if obj.docstring:
            text, found, doctest = obj.docstring.value.partition("\n>>>")
            text = re.sub(r"^( +\w+: )>", r"\1\>", text, flags=re.M)
            example = f"\nExamples:\n{indent(f'>>>{doctest}', '    ')}" if found else ""
            obj.docstring.value = text + example
