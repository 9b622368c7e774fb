"""Result records and what is made of them."""

from .claims import MULTIOOD_BENCHMARKS, check_multiood_claim, known_manifest_digests
from .records import ResultRecord, load_records, read_record

__all__ = [
    "MULTIOOD_BENCHMARKS",
    "ResultRecord",
    "check_multiood_claim",
    "known_manifest_digests",
    "load_records",
    "read_record",
]
