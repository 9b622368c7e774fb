import numpy as np
from torch import nn


class ASHNet(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, x, return_feature=False, return_feature_list=False):
        return self.backbone(x, return_feature)

    def forward_threshold(self, x, percentile):
        _, feature = self.backbone(x, return_feature=True)
        total = feature.sum(dim=1, keepdim=True)
        kept = feature.shape[1] - int(np.round(feature.shape[1] * percentile / 100.0))
        _, index = feature.topk(kept, dim=1)
        feature.zero_().scatter_(1, index, (total / kept).expand(-1, kept))  # in place, as OpenOOD's
        return self.backbone.get_fc_layer()(feature)

    def get_fc(self):
        layer = self.backbone.fc
        return layer.weight.detach().numpy(), layer.bias.detach().numpy()
