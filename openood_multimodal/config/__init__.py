"""OpenOOD's YAML configs: several files merged, ``@{a.b}`` references, ``--a.b value`` overrides.

`load_config` reads them into a `Config`; `bind` turns one section into a component's declared parameters.
Nothing in a config or on the command line is ever evaluated.
"""

from .binding import bind, bind_call
from .config import Config, MissingAttributeError, MissingKeyError
from .files import find_config, read_config
from .load import HOST_DEFAULTS, load_config
from .overrides import COMMAND_LINE, apply_overrides
from .references import resolve_references

__all__ = [
    "COMMAND_LINE",
    "HOST_DEFAULTS",
    "Config",
    "MissingAttributeError",
    "MissingKeyError",
    "apply_overrides",
    "bind",
    "bind_call",
    "find_config",
    "load_config",
    "read_config",
    "resolve_references",
]
