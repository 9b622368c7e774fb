"""``openood-mm run``: what OpenOOD's main.py does."""

from __future__ import annotations

from collections.abc import Sequence

from .parsers import option_names, subparser

EXAMPLES = """  # train, then test on near-OOD
  openood-mm run --config datasets/htad/htad_4_3.yml networks/mlp_fusion.yml pipelines/train/a2d.yml
  openood-mm run --config datasets/htad/htad_4_3.yml datasets/htad/htad_4_3_ood.yml networks/mlp_fusion.yml \\
      pipelines/test/near_ood.yml --network.checkpoint <path of best.ckpt, printed by training>

  # another partition, seed and weight of the discrepancy
  openood-mm run --config datasets/mfeat/mfeat_5_5.yml networks/mlp_fusion.yml pipelines/train/a2d.yml \\
      --dataset.partition 3 --seed 1 --trainer.gamma 0.5 --dataset.modalities fou,kar,zer

  # on 8 GPUs of one machine: trainings and extractions take several ranks
  torchrun --standalone --nproc-per-node 8 -m openood_multimodal run --config ...
"""


@option_names("postprocessors", "device")
def main(argv: Sequence[str]) -> int:
    """Load the configs, apply the overrides, run the pipeline that they name."""
    parser = subparser(
        "run",
        "Run the pipeline of a config: several YAML files, merged in order, then --key value overrides.\n"
        "Files are looked up in the working directory, then among the packaged configs "
        "(openood-mm list configs). Any key that they set can be overridden: --optimizer.lr 0.001",
        EXAMPLES,
    )
    parser.add_argument("--config", nargs="+", required=True, metavar="FILE.yml", help="merged in this order")
    options, overrides = parser.parse_known_args(list(argv))

    from ..config import load_config
    from ..errors import UserError
    from ..ranks import together, world
    from ..registry import PIPELINES

    config = load_config(options.config, overrides)
    name = config.get("pipeline.name")
    if not name:
        raise UserError(
            "no config sets pipeline.name; add one of pipelines/train/*.yml or pipelines/test/*.yml after --config."
        )
    with together():
        pipeline = PIPELINES.get(name)
        if world() > 1 and not getattr(pipeline, "takes_ranks", False):
            raise UserError(
                f"the pipeline '{name}' runs in one process. Under torchrun, train (pipelines/train/*.yml) and extract "
                "(--pipeline.name multimodal_extract); then test without it."
            )
        pipeline(config).run()
    return 0
