import csv
import os

import numpy as np
import torch

from .metrics import compute_all_metrics


class BaseEvaluator:
    def __init__(self, config):
        self.config = config

    @torch.no_grad()
    def eval_acc(self, net, loader, postprocessor=None, epoch_idx=-1):
        net.eval()
        hits = loss = 0.0
        for batch in loader:
            logits, target = net(batch["data"].cuda()), batch["label"].cuda()
            loss += torch.nn.functional.cross_entropy(logits, target).item()
            hits += (logits.argmax(1) == target).sum().item()
        return {"epoch_idx": epoch_idx, "loss": loss / len(loader), "acc": hits / len(loader.dataset)}


class OODEvaluator(BaseEvaluator):
    def eval_acc(self, net, loader, postprocessor=None, epoch_idx=-1):
        pred, _, label = postprocessor.inference(net, loader)
        return {"epoch_idx": epoch_idx, "acc": np.mean(pred == label)}

    def eval_ood(self, net, id_loaders, ood_loaders, postprocessor):
        net.eval()
        known = postprocessor.inference(net, id_loaders["test"])
        if self.config.recorder.save_scores:
            self._save_scores(*known, self.config.dataset.name)
        for group in ("nearood", "farood"):
            for name, loader in ood_loaders[group].items():
                pred, conf, label = postprocessor.inference(net, loader)
                joined = [
                    np.concatenate(each) for each in zip(known, (pred, conf, label * 0 - 1), strict=True)
                ]
                if self.config.recorder.save_scores:
                    self._save_scores(pred, conf, label * 0 - 1, name)
                self._save_csv(compute_all_metrics(joined[1], joined[2], joined[0]), name)

    def _save_scores(self, pred, conf, gt, save_name):
        folder = os.path.join(self.config.output_dir, "scores")
        os.makedirs(folder, exist_ok=True)
        np.savez(os.path.join(folder, save_name), pred=pred, conf=conf, label=gt)

    def _save_csv(self, values, name):
        with open(os.path.join(self.config.output_dir, "ood.csv"), "a", newline="") as file:
            csv.writer(file).writerow([name, *(f"{100 * value:.2f}" for value in values)])


def get_evaluator(config):
    evaluators = {"base": BaseEvaluator, "ood": OODEvaluator}
    return evaluators[config.evaluator.name](config)
