import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve


def compute_all_metrics(conf, label, pred):
    ood = label == -1
    false_alarms, recall, _ = roc_curve(ood, -conf)
    fpr = false_alarms[np.argmax(recall >= 0.95)]
    return [fpr, roc_auc_score(ood, -conf), np.mean(pred[~ood] == label[~ood])]
