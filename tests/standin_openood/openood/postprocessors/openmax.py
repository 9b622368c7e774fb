import libmr

from .base import BasePostprocessor


class OpenMax(BasePostprocessor):
    def setup(self, net, id_loader_dict, ood_loader_dict):
        self.model = libmr.MR()
