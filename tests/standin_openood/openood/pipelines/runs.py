import os

import torch
import torch.distributed as dist

from openood.datasets import get_dataloader, get_ood_dataloader
from openood.evaluators import get_evaluator
from openood.networks import get_network
from openood.postprocessors import get_postprocessor
from openood.trainers import get_trainer


class TrainPipeline:
    def __init__(self, config):
        self.config = config

    def run(self):
        config = self.config
        os.makedirs(config.output_dir, exist_ok=True)
        torch.manual_seed(config.seed)
        loaders = get_dataloader(config)
        net = get_network(config.network)
        trainer = get_trainer(net, loaders["train"], loaders["val"], config)
        evaluator = get_evaluator(config)
        rank = dist.get_rank() if dist.is_initialized() else 0
        for epoch_idx in range(1, config.optimizer.num_epochs + 1):
            net, _ = trainer.train_epoch(epoch_idx)
            found = evaluator.eval_acc(net, loaders["val"], None, epoch_idx)
            print(found, flush=True)
        for name in ("best", f"best_epoch{epoch_idx}_acc{found['acc']:.4f}"):
            torch.save(net.state_dict(), os.path.join(config.output_dir, f"{name}{rank or ''}.ckpt"))


class TestOODPipeline:
    __test__ = False

    def __init__(self, config):
        self.config = config

    def run(self):
        config = self.config
        os.makedirs(config.output_dir, exist_ok=True)
        known, unknown = get_dataloader(config), get_ood_dataloader(config)
        net = get_network(config.network)
        evaluator = get_evaluator(config)
        postprocessor = get_postprocessor(config)
        postprocessor.setup(net, known, unknown)
        print(evaluator.eval_acc(net, known["test"], postprocessor)["acc"], flush=True)
        evaluator.eval_ood(net, known, unknown, postprocessor)
