"""YAML files merged, references, overrides: as much of it as the tests use."""

import argparse
import os
import re

import yaml


class Config(dict):
    def __init__(self, *sources):
        super().__init__()
        for source in sources:
            if isinstance(source, str):
                with open(source, encoding="utf-8") as file:
                    source = yaml.safe_load(file)
            self._merge(source)

    def _merge(self, values):
        for key, value in values.items():
            if isinstance(value, dict) and value:
                if not isinstance(self.get(key), Config):
                    dict.__setitem__(self, key, Config())
                self[key]._merge(value)
            else:
                self[key] = value

    def __getattr__(self, key):
        if key.startswith("__"):
            raise AttributeError(key)
        return self.get(key)  # None for what is missing: where mistakes surface late

    def __setattr__(self, key, value):
        self[key] = value

    def __reduce__(self):
        return Config, (dict(self),)

    def at(self, key):
        *sections, last = key.split(".")
        place = self
        for section in sections:
            place = place[section]
        return place, last

    def override(self, words):
        for key, text in zip(words[::2], words[1::2], strict=True):
            place, last = self.at(key[2:])
            kind = type(place[last])
            place[last] = text == "True" if kind is bool else kind(text)

    def resolve(self, section=None):
        for key, value in (self if section is None else section).items():
            if isinstance(value, Config):
                self.resolve(value)
            elif isinstance(value, str) and value.startswith("@{"):
                place, last = self.at(value[2:-1])
                (self if section is None else section)[key] = place[last]
            elif isinstance(value, str):
                (self if section is None else section)[key] = re.sub(r"'@\{(.+?)\}'", self._text, value)

    def _text(self, match):
        place, last = self.at(match.group(1))
        return str(place[last])


def setup_config():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", nargs="+", required=True)
    options, rest = parser.parse_known_args()
    config = Config(*options.config)
    config.override(rest)
    for _ in range(3):
        config.resolve()
    config.output_dir = os.path.join(config.output_dir, config.exp_name)
    return config
