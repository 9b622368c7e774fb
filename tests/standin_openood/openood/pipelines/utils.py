from .runs import TestOODPipeline, TrainPipeline


def get_pipeline(config):
    pipelines = {"train": TrainPipeline, "test_ood": TestOODPipeline}
    return pipelines[config.pipeline.name](config)
