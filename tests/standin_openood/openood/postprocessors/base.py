import numpy as np
import torch

from .info import num_classes_dict


class BasePostprocessor:
    def __init__(self, config):
        self.config = config

    def setup(self, net, id_loader_dict, ood_loader_dict):
        pass

    @torch.no_grad()
    def postprocess(self, net, data):
        conf, pred = torch.softmax(net(data), dim=1).max(dim=1)
        return pred, conf

    def inference(self, net, data_loader, progress=True):
        parts = []
        for batch in data_loader:
            pred, conf = self.postprocess(net, batch["data"].cuda())
            parts.append((pred.cpu().numpy(), conf.detach().cpu().numpy(), batch["label"].numpy()))
        return tuple(np.concatenate(each) for each in zip(*parts, strict=True))


class EBOPostprocessor(BasePostprocessor):
    def __init__(self, config):
        super().__init__(config)
        self.temperature = config.postprocessor.postprocessor_args.temperature
        self.args_dict = config.postprocessor.postprocessor_sweep

    @torch.no_grad()
    def postprocess(self, net, data):
        logits = net(data)
        return logits.argmax(1), self.temperature * torch.logsumexp(logits / self.temperature, dim=1)

    def set_hyperparam(self, hyperparam):
        self.temperature = hyperparam[0]

    def get_hyperparam(self):
        return self.temperature


class ASHPostprocessor(BasePostprocessor):
    def __init__(self, config):
        super().__init__(config)
        self.percentile = config.postprocessor.postprocessor_args.percentile

    @torch.no_grad()
    def postprocess(self, net, data):
        logits = net.forward_threshold(data, self.percentile)
        return logits.argmax(1), torch.logsumexp(logits, dim=1)


class MDSPostprocessor(BasePostprocessor):
    def __init__(self, config):
        super().__init__(config)
        self.num_classes = num_classes_dict[config.dataset.name]

    @torch.no_grad()
    def setup(self, net, id_loader_dict, ood_loader_dict):
        net.eval()
        pairs = [(net(b["data"].cuda(), return_feature=True)[1], b["label"]) for b in id_loader_dict["train"]]
        features, labels = torch.cat([f for f, _ in pairs]), torch.cat([y for _, y in pairs])
        self.means = torch.stack([features[labels == c].mean(0) for c in range(self.num_classes)])

    @torch.no_grad()
    def postprocess(self, net, data):
        distance = torch.cdist(net(data, return_feature=True)[1], self.means)
        return distance.argmin(1), -distance.min(1).values
