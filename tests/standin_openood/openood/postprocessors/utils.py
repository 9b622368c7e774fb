from .base import ASHPostprocessor, BasePostprocessor, EBOPostprocessor, MDSPostprocessor
from .openmax import OpenMax
from .temperature import TemperatureScalingPostprocessor


def get_postprocessor(config):
    postprocessors = {
        "msp": BasePostprocessor,
        "ebo": EBOPostprocessor,
        "ash": ASHPostprocessor,
        "mds": MDSPostprocessor,
        "openmax": OpenMax,
        "temperature_scaling": TemperatureScalingPostprocessor,
    }
    return postprocessors[config.postprocessor.name](config)
