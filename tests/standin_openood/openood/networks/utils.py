import torch

from .small import Around, SmallNet


def get_network(network_config):
    num_classes = network_config.num_classes
    if network_config.name == "small":
        net = SmallNet(num_classes)
    elif network_config.name == "react_net":
        net = Around(get_network(network_config.backbone))
    else:
        raise Exception("Unexpected network!")
    if network_config.pretrained:
        net.load_state_dict(torch.load(network_config.checkpoint), strict=False)
    if network_config.num_gpus > 0:
        net.cuda()
    return net
