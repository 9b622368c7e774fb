from .ash_net import ASHNet
from .utils import get_network

__all__ = ["ASHNet", "get_network"]
