from torch import nn


class SmallNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.fc = nn.Linear(16, num_classes)
        self.feature_size = 16

    def forward(self, x, return_feature=False):
        feature = self.body(x)
        return (self.fc(feature), feature) if return_feature else self.fc(feature)

    def get_fc_layer(self):
        return self.fc


class Around(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, x, return_feature=False):
        return self.backbone(x, return_feature)

    def forward_threshold(self, x, threshold):
        return self.backbone.get_fc_layer()(self.backbone(x, return_feature=True)[1].clip(max=threshold))
