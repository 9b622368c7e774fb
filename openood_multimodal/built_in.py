"""The package's own components: kind → name → ``"module:attribute"`` below the package.

A component that is added to the package gets a line here, so that its name can be listed without importing it.
"""

from __future__ import annotations

from collections.abc import Mapping

BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "datasets": {
        "MultimodalClipDataset": "datasets.clips:MultimodalClipDataset",
        "MultimodalTabularDataset": "datasets.tabular:MultimodalTabularDataset",
    },
    "preprocessors": {
        "multimodal_base": "preprocessors.base:MultimodalPreprocessor",
        "multimodal_clip": "preprocessors.clip:ClipPreprocessor",
        "multimodal_noise": "preprocessors.noise:GaussianNoise",
    },
    "readers": {
        "audio": "preprocessors.clip_readers:AudioReader",
        "flow": "preprocessors.clip_readers:FlowReader",
        "video": "preprocessors.clip_readers:VideoReader",
    },
    "networks": {
        "clip_fusion": "networks.clips.fusion:ClipFusionNet",
        "mlp_fusion": "networks.fusion:MLPFusionNet",
    },
    "encoders": {
        "ast": "networks.clips.catalogue:AST",
        "audio_resnet18": "networks.clips.catalogue:AUDIO_RESNET18",
        "i3d_r50": "networks.clips.catalogue:I3D_R50",
        "slowfast_r101": "networks.clips.catalogue:SLOWFAST_R101",
        "slowfast_r50": "networks.clips.catalogue:SLOWFAST_R50",
        "slowonly_r50_flow": "networks.clips.catalogue:SLOWONLY_R50_FLOW",
        "swin_tiny": "networks.clips.catalogue:SWIN_TINY",
        "tsn_r50_flow": "networks.clips.catalogue:TSN_R50_FLOW",
    },
    "protocols": {
        "multiood-code": "losses.protocols:CODE",
        "multiood-paper": "losses.protocols:PAPER",
    },
    "discrepancies": {
        "hellinger": "losses.discrepancies:hellinger_code",
        "l1": "losses.discrepancies:l1_code",
        "l2": "losses.discrepancies:l2_code",
        "wasserstein": "losses.discrepancies:wasserstein",
    },
    "syntheses": {
        "npmix": "synthesis.npmix:NPMix",
    },
    "trainers": {
        "a2d": "trainers.a2d:A2DTrainer",
        "a2d_logitnorm": "trainers.logitnorm:A2DLogitNormTrainer",
        "a2d_npmix": "trainers.a2d:A2DNPMixTrainer",
        "a2d_npmix_logitnorm": "trainers.logitnorm:A2DNPMixLogitNormTrainer",
        "multimodal_baseline": "trainers.baseline:MultimodalBaselineTrainer",
        "multimodal_logitnorm": "trainers.logitnorm:MultimodalLogitNormTrainer",
        "multimodal_multihead": "trainers.baseline:MultiHeadTrainer",
    },
    "postprocessors": {
        "ash": "postprocessors.ash:ASH",
        "discrepancy": "postprocessors.discrepancy:Discrepancy",
        "ebo": "postprocessors.ebo:EBO",
        "ensemble": "postprocessors.ensemble:Ensemble",
        "gen": "postprocessors.gen:GEN",
        "knn": "postprocessors.knn:KNN",
        "mds": "postprocessors.mds:MDS",
        "mls": "postprocessors.mls:MLS",
        "msp": "postprocessors.msp:MSP",
        "per_modality": "postprocessors.per_modality:PerModality",
        "react": "postprocessors.react:ReAct",
        "vim": "postprocessors.vim:ViM",
    },
    "engines": {
        "native": "postprocessors.run:NativeEngine",
        "openood": "plugin.engine:OpenOODEngine",
    },
    "evaluators": {
        "far_ood": "evaluators.ood:MultimodalOODEvaluator",
        "near_ood": "evaluators.ood:MultimodalOODEvaluator",
    },
    "pipelines": {
        "multimodal_extract": "pipelines.extract:ExtractPipeline",
        "multimodal_test": "pipelines.test:TestPipeline",
        "multimodal_train": "pipelines.train:TrainPipeline",
        "test_ood": "pipelines.test:TestPipeline",
        "train": "pipelines.train:TrainPipeline",
    },
    "clip_protocols": {
        "multiood-code": "preprocessors.windows:CODE",
        "shared": "preprocessors.windows:SHARED",
    },
    "flow_methods": {
        "dis": "preprocessors.optical_flow:dis",
        "dis_fast": "preprocessors.optical_flow:dis_fast",
        "farneback": "preprocessors.optical_flow:farneback",
        "tvl1": "preprocessors.optical_flow:tvl1",
    },
    "layouts": {
        "htad": "datasets.layouts.htad:LAYOUT",
        "mfeat": "datasets.layouts.mfeat:LAYOUT",
        "synthetic": "datasets.layouts.synthetic:LAYOUT",
    },
    "clip_layouts": {
        "epic_kitchens": "corpora.layouts:epic_kitchens",
        "hac": "corpora.layouts:hac",
        "hmdb51": "corpora.layouts:hmdb51",
        "kinetics600": "corpora.layouts:kinetics600",
        "ucf101": "corpora.layouts:ucf101",
    },
}
