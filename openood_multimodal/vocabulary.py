"""Names that configs, manifests, stores, records and tables share, each defined once.

The validation OOD set has one name here, `OOD_VAL`, and two older spellings on the outside: ``val`` among the OOD sets
of OpenOOD's configs and of benchmarks (`LOADER_GROUPS`), and ``oodval`` in file names of manifests (`FILE_GROUPS`).
"""

from __future__ import annotations

import math
from typing import Final

# sets of a benchmark
ID_SETS: Final = ("train", "val", "test")
"""Splits of the in-distribution dataset."""

FIT_SETS: Final = ("train", "val")
"""Splits that a postprocessor may be fitted on."""

SEARCHES: Final = ("validation", "npmix")
"""What a search for parameters takes as OOD samples: OOD validation sets, or outliers that NP-Mix makes."""

NEAR: Final = "nearood"
FAR: Final = "farood"
CSID: Final = "csid"
"""Group of covariate-shifted ID sets, as OpenOOD calls it: they count as ID in full-spectrum evaluation."""

TEST_GROUPS: Final = (NEAR, FAR)
"""Groups of OOD test sets: keys of OOD loaders."""

OOD_VAL: Final = "ood_val"
"""The validation OOD set: a request's ``split``, and the name of its embedding store."""

LOADER_GROUPS: Final = {OOD_VAL: "val", NEAR: NEAR, FAR: FAR}
"""Group → its key in OpenOOD's ``ood_dataset`` section, in OOD loaders and in a benchmark's ``ood_sets``."""

AUXILIARY: Final = "auxiliary"
"""Outliers to train with: a section of ``dataset``, and a part of a benchmark's classes."""

BENCHMARK_GROUPS: Final = {**LOADER_GROUPS, AUXILIARY: AUXILIARY}
"""Group → its key in a benchmark's ``ood_sets``: those of configs, and auxiliary outliers."""

FILE_GROUPS: Final = {NEAR: NEAR, FAR: FAR, OOD_VAL: "oodval"}
"""Group → how file names of manifests, and keys of split cards, begin: ``nearood_<set>.csv``."""

GROUP_OF_FILE: Final = {prefix: group for group, prefix in FILE_GROUPS.items()}
"""The inverse of `FILE_GROUPS`."""

EVALUATOR_GROUPS: Final = {"near_ood": (NEAR,), "far_ood": (FAR,)}
"""Evaluator → groups of OOD sets that it evaluates."""

# settings
SETTING_OF: Final = {NEAR: "near", FAR: "far"}
"""Group → setting in records."""

SETTINGS: Final = ("near", "far")

# metrics
METRICS: Final = ("FPR@95", "FPR@95_ID_TPR", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC")
"""All metrics of a result, in the order of records."""

OPENOOD_METRICS: Final = ("FPR@95", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC")
"""OpenOOD's metrics, in the order of the columns of its ``ood.csv``."""

PAPER_METRICS: Final = ("FPR@95", "AUROC", "ACC")
"""Metrics of the paper's tables, in their order."""

CRITERIA: Final = ("AUROC", "FPR@95", "FPR@95_ID_TPR", "AUPR_IN", "AUPR_OUT")
"""Metrics that a search for parameters may go by."""

TABLE_METRICS: Final = ("AUROC", "FPR@95", "ACC")
"""Metrics of summaries and leaderboards on a page, in their order."""

MORE_METRICS: Final = ("failure", "calibration")
"""Kinds of other metrics, where asked for: tables of scoring, ``metrics`` of a test config, fields of records."""

ID_FAILURE_METRICS: Final = ("AURC", "E-AURC", "risk@80", "risk@90", "risk@95", "AUROC_right", "FPR@95_right")
"""Metrics of failure detection that need the ID set alone."""

FAILURE_METRICS: Final = (*ID_FAILURE_METRICS, "OSCR", "AUROC_scope", "AUTC")
"""All metrics of failure detection, in the order of records."""

CALIBRATION_METRICS: Final = ("ECE", "ECE_mass", "Brier", "NLL")
"""Metrics of calibration, in the order of records."""

SCALED: Final = "_scaled"
"""End of the names of calibration metrics with temperature scaling, in leaderboards."""

BOARD_METRICS: Final = (
    *METRICS,
    *FAILURE_METRICS,
    *CALIBRATION_METRICS,
    *(f"{name}{SCALED}" for name in CALIBRATION_METRICS),
)
"""All metrics of leaderboards, in their order; those after `METRICS` only where a record has them."""

UPPER_BOUNDS: Final = {"Brier": 2.0, "NLL": math.inf}
"""Metric → the largest value that it can have, where that isn't 1."""

AVERAGE: Final = "average"
"""In place of an OOD set's name: the mean over the sets."""

# test-time conditions
LEVELS: Final = ("embedding", "input")
"""What a condition changes: stored embeddings, or the clips before preprocessing."""

APPLY_TO: Final = ("both", "id", "ood")
"""Sets that a condition is applied to: ID test and OOD, ID test alone, OOD alone."""

# records
BENCHMARK_TRACKS: Final = ("multiood", "grouped", "demo")
"""Tracks that a benchmark or a split may be on."""

TRACKS: Final = (*BENCHMARK_TRACKS, "own")
"""All tracks of records, in the order of leaderboards; results on different tracks are never compared."""

APART: Final = ("csid", "condition", "auxiliary")
"""Fields of records whose results never share a cell or a ranking: what was scored as ID, what was done to test
samples, and outlier data used in training."""

SOURCES: Final = ("published", "reproduced")
"""Where a record's metrics come from."""

TIERS: Final = ("unverified", "published", "self-reported", "verified", "re-scored")
"""What backs a result, weakest first: somebody's summary of a paper; a paper; a record alone; the scores of every
sample, from which its metrics follow; embeddings, from which these scores follow."""

UNVERIFIED: Final = "unverified: read in a summary of the paper, not in its tables"
"""Note of a published record whose tier is unverified."""

PRESETS: Final = ("openood", "multiood")
"""Presets of postprocessor parameters."""

# datasets
CORPORA: Final = ("hmdb51", "ucf101", "epic_kitchens", "hac", "kinetics600")
"""Video datasets of MultiOOD."""
