"""The files that MultiOOD's test scripts save, read into embedding stores.

Names, shapes and meaning are those of the authors' public code (``test_video_flow*.py``, which write them, and
``eval_video_flow_{near,far}_ood.py``, which read them).  `names` parses a file name, `groups` puts the files
of one training together and checks that none is missing, `head` recovers the fusion head, `stores` writes.
"""

from .groups import Group, find_groups, select_groups
from .head import HeadFit, head_from_checkpoint, head_from_outputs
from .stores import ImportedGroup, import_group, score_command

__all__ = [
    "Group",
    "HeadFit",
    "ImportedGroup",
    "find_groups",
    "head_from_checkpoint",
    "head_from_outputs",
    "import_group",
    "score_command",
    "select_groups",
]
