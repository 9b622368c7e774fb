import torch
from torch.utils.data import DataLoader


class BaseTrainer:
    def __init__(self, net, train_loader, config):
        self.net, self.train_loader = net, train_loader
        self.optimizer = torch.optim.SGD(net.parameters(), config.optimizer.lr)

    def train_epoch(self, epoch_idx):
        self.net.train()
        loss = torch.zeros(())
        for batch in self.train_loader:
            logits = self.net(batch["data"].cuda())
            loss = torch.nn.functional.cross_entropy(logits, batch["label"].cuda())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return self.net, {"epoch_idx": epoch_idx, "loss": loss.item()}


class OETrainer:
    pass


def get_trainer(net, train_loader, val_loader, config):
    if type(train_loader) is DataLoader:
        trainers = {"base": BaseTrainer, "logitnorm": BaseTrainer}
        return trainers[config.trainer.name](net, train_loader, config)
    trainers = {"oe": OETrainer}
    return trainers[config.trainer.name](net, train_loader[0], train_loader[1], config)
