"""The command line, ``openood-mm``: one module a subcommand."""

from .main import main

__all__ = ["main"]
