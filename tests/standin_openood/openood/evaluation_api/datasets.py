DATA_INFO = {"gray": {"num_classes": 2}}


def data_setup(data_root, id_data_name):
    raise AssertionError(f"{id_data_name} would be downloaded to {data_root}")


def get_id_ood_dataloader(id_name, data_root, preprocessor, **loader_kwargs):
    raise AssertionError(f"{id_name} would be read as images")
