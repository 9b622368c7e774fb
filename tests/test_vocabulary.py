"""Names that are written into files: older files must still be read."""

from openood_multimodal import vocabulary


def test_records_name_their_metrics_and_tracks_as_ever():
    assert vocabulary.METRICS == ("FPR@95", "FPR@95_ID_TPR", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC")
    assert vocabulary.TRACKS == ("multiood", "grouped", "demo", "own")
    assert vocabulary.SETTING_OF == {"nearood": "near", "farood": "far"}
    assert set(vocabulary.OPENOOD_METRICS + vocabulary.PAPER_METRICS) < set(vocabulary.METRICS)


def test_the_validation_ood_set_has_the_spellings_of_openood_and_of_older_files():
    assert vocabulary.OOD_VAL == "ood_val"
    assert vocabulary.LOADER_GROUPS == {"ood_val": "val", "nearood": "nearood", "farood": "farood"}
    assert vocabulary.FILE_GROUPS == {"nearood": "nearood", "farood": "farood", "ood_val": "oodval"}
