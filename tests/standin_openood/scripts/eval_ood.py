"""Shaped as OpenOOD's: tables of its own, one network a run, a pickle of the postprocessor."""

import argparse
import os
import pickle
from glob import glob

import numpy as np
import pandas as pd
import torch
from openood.evaluation_api import Evaluator
from openood.networks.small import SmallNet

parser = argparse.ArgumentParser()
parser.add_argument("--root", required=True)
parser.add_argument("--postprocessor", default="msp")
parser.add_argument("--id-data", type=str, default="gray", choices=["gray"])
args = parser.parse_args()

NUM_CLASSES = {"gray": 2}
MODEL = {
    "gray": SmallNet,
}
num_classes = NUM_CLASSES[args.id_data]
model_arch = MODEL[args.id_data]

tables = []
for subfolder in sorted(glob(os.path.join(args.root, "s*"))):
    saved = os.path.join(subfolder, f"{args.postprocessor}.pkl")
    postprocessor = None
    if os.path.isfile(saved):
        with open(saved, "rb") as file:
            postprocessor = pickle.load(file)
    net = model_arch(num_classes=num_classes)
    net.load_state_dict(torch.load(os.path.join(subfolder, "best.ckpt"), map_location="cpu"))
    net.cuda()
    net.eval()
    evaluator = Evaluator(
        net,
        id_name=args.id_data,
        preprocessor=None,
        postprocessor_name=args.postprocessor,
        postprocessor=postprocessor,
        num_workers=0,
    )
    with open(saved, "wb") as file:
        pickle.dump(evaluator.postprocessor, file)
    metrics = evaluator.eval_ood()
    tables.append(metrics.to_numpy())
mean = np.mean(np.stack(tables), axis=0)
pd.DataFrame(mean, index=metrics.index, columns=metrics.columns).to_csv(
    os.path.join(args.root, f"{args.postprocessor}.csv")
)
