import torch
from torch.utils.data import DataLoader

from openood.preprocessors.standard import TestStandardPreProcessor
from openood.preprocessors.utils import get_preprocessor

from .imglist import ImglistDataset  # noqa: F401  (named in configs)


def get_dataloader(config):
    section = config.dataset
    loaders = {}
    for split in section.split_names:
        part = section[split]
        dataset = eval(part.dataset_class)(
            name=section.name + "_" + split,
            imglist_pth=part.imglist_pth,
            data_dir=part.data_dir,
            num_classes=section.num_classes,
            preprocessor=get_preprocessor(config, split),
            data_aux_preprocessor=TestStandardPreProcessor(config),
        )
        sampler = None
        if section.num_gpus * section.num_machines > 1:
            sampler = torch.utils.data.distributed.DistributedSampler(dataset)
            part.shuffle = False
        loaders[split] = DataLoader(
            dataset, part.batch_size, part.shuffle, sampler, num_workers=section.num_workers
        )
    return loaders


def get_ood_dataloader(config):
    section = config.ood_dataset
    kind = eval(section.dataset_class)
    loaders = {}
    for split in section.split_names:
        part = section[split]
        preprocessor = get_preprocessor(config, split)
        auxiliary = TestStandardPreProcessor(config)

        def load(one, name=split, first=preprocessor, second=auxiliary):
            dataset = kind(
                name=name,
                imglist_pth=one.imglist_pth,
                data_dir=one.data_dir,
                num_classes=section.num_classes,
                preprocessor=first,
                data_aux_preprocessor=second,
            )
            return DataLoader(dataset, section.batch_size, section.shuffle)

        loaders[split] = load(part) if split == "val" else {name: load(part[name]) for name in part.datasets}
    return loaders
