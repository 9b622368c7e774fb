from .standard import DRAEMPreprocessor, InheritedPreprocessor, TestStandardPreProcessor


def get_preprocessor(config, split):
    train = {"base": TestStandardPreProcessor, "draem": DRAEMPreprocessor, "sharp": InheritedPreprocessor}
    test = {"base": TestStandardPreProcessor}
    if split == "train":
        return train[config.preprocessor.name](config)
    return test.get(config.preprocessor.name, test["base"])(config)
