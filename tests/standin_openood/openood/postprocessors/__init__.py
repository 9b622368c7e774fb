from .base import ASHPostprocessor, BasePostprocessor, EBOPostprocessor, MDSPostprocessor
from .openmax import OpenMax
from .temperature import TemperatureScalingPostprocessor
from .utils import get_postprocessor

__all__ = [
    "ASHPostprocessor",
    "BasePostprocessor",
    "EBOPostprocessor",
    "MDSPostprocessor",
    "OpenMax",
    "TemperatureScalingPostprocessor",
    "get_postprocessor",
]
