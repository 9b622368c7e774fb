from openood.postprocessors import ASHPostprocessor, BasePostprocessor, EBOPostprocessor, MDSPostprocessor
from openood.utils import Config

POSTPROCESSORS = {
    "msp": BasePostprocessor,
    "ebo": EBOPostprocessor,
    "ash": ASHPostprocessor,
    "mds": MDSPostprocessor,
}
ARGUMENTS = {"postprocessor_args": {"temperature": 1, "percentile": 90}}


def get_postprocessor(config_root, postprocessor_name, id_data_name):
    search = postprocessor_name == "ebo"
    sweep = {"postprocessor_sweep": {"temperature_list": [1, 2]}} if search else {}
    section = {"name": postprocessor_name, "APS_mode": search, **ARGUMENTS, **sweep}
    config = Config({"postprocessor": section, "dataset": {"name": id_data_name}})
    found = POSTPROCESSORS[postprocessor_name](config)
    found.APS_mode = config.postprocessor.APS_mode
    found.hyperparam_search_done = False
    return found
