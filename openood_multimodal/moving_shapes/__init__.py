"""MovingShapes: small labelled clips with real files, for tests, demos and checking an installation.

Actions are motions of textured shapes, each with its sound; recordings share a place and a camera.
"""

from .making import BENCHMARK, Generated, generate
from .scenes import Clip, encode_flow, render_clip
from .settings import SIZES, Size

__all__ = ["BENCHMARK", "SIZES", "Clip", "Generated", "Size", "encode_flow", "generate", "render_clip"]
