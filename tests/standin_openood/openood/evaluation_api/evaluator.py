import numpy as np
import pandas as pd

from openood.evaluators.metrics import compute_all_metrics
from openood.networks.ash_net import ASHNet
from openood.postprocessors import BasePostprocessor

from .datasets import DATA_INFO, data_setup, get_id_ood_dataloader
from .postprocessor import get_postprocessor


class Evaluator:
    def __init__(
        self,
        net,
        id_name,
        data_root="./data",
        config_root="./configs",
        preprocessor=None,
        postprocessor_name=None,
        postprocessor=None,
        batch_size=200,
        shuffle=False,
        num_workers=4,
    ):
        if id_name not in DATA_INFO:
            raise ValueError(f"Dataset [{id_name}] is not supported")
        if preprocessor is None:
            raise AssertionError("an image preprocessor would be made")
        if postprocessor is None:
            postprocessor = get_postprocessor(config_root, postprocessor_name, id_name)
        if not isinstance(postprocessor, BasePostprocessor):
            raise TypeError("no postprocessor")
        data_setup(data_root, id_name)
        kwargs = {"batch_size": batch_size, "shuffle": shuffle, "num_workers": num_workers}
        self.dataloader_dict = get_id_ood_dataloader(id_name, data_root, preprocessor, **kwargs)
        if postprocessor_name == "ash":
            net = ASHNet(net)
        postprocessor.setup(net, self.dataloader_dict["id"], self.dataloader_dict["ood"])
        self.searched = postprocessor.APS_mode and not postprocessor.hyperparam_search_done
        self.id_name, self.net, self.postprocessor = id_name, net, postprocessor
        self.metrics = {"ood": None}
        self.scores = {}

    def eval_ood(self, fsood=False, progress=True):
        if self.metrics["ood"] is None:
            known = self.postprocessor.inference(self.net, self.dataloader_dict["id"]["test"], progress)
            near = self._eval_ood(known, ood_split="near", progress=progress)
            far = self._eval_ood(known, ood_split="far", progress=progress)
            ood = self.dataloader_dict["ood"]
            index = [*ood["near"], "nearood", *ood["far"], "farood"]
            self.metrics["ood"] = pd.DataFrame(
                np.concatenate([near, far]), index=index, columns=["FPR@95", "AUROC", "ACC"]
            )
        return self.metrics["ood"]

    def _eval_ood(self, id_list, ood_split="near", progress=True):
        rows = []
        for loader in self.dataloader_dict["ood"][ood_split].values():
            pred, conf, label = self.postprocessor.inference(self.net, loader, progress)
            both = zip(id_list, (pred, conf, -np.ones_like(label)), strict=True)
            all_pred, all_conf, all_label = (np.concatenate(each) for each in both)
            rows.append(compute_all_metrics(all_conf, all_label, all_pred))
        mean = np.mean(rows, axis=0, keepdims=True)
        assert mean.ndim == 2, "the mean of no sets"
        return np.concatenate([rows, mean]) * 100
