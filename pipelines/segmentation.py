"""The story of a segmentation study as one Hydra application; `--multirun` sweeps it.

    python pipelines/segmentation.py dataset=4 fold=0
    python pipelines/segmentation.py --multirun dataset=4 optimizer.lr=0.001,0.0015

It returns the mean foreground Dice of the held-back cases, for sweepers to maximise.
"""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from medssm.core.errors import MedssmError, UsageError
from medssm.core.log import configure
from medssm.core.resources import conf_folder
from medssm.fields.segmentation.evaluate import EvaluateConfig, evaluate
from medssm.fields.segmentation.story import open_study, train_study

# keys of this application that are no settings of a stage
_OWN = ("dataset", "home")


@hydra.main(config_path=str(conf_folder()), config_name="pipeline_segmentation", version_base="1.3")
def main(config: DictConfig) -> float:
    """Plan, preprocess, train and evaluate; each as far as it is not done."""
    configure()
    if OmegaConf.is_missing(config, "dataset"):
        raise UsageError("dataset=… is missing: a folder, or a name or number under home.")
    words = [
        word
        for word in HydraConfig.get().overrides.task
        if word.lstrip("+").partition("=")[0] not in _OWN
    ]
    home = Path(str(config.home)).expanduser().absolute()
    study = open_study(str(config.dataset), home, [word.lstrip("+") for word in words])
    model = train_study(study)
    return evaluate(EvaluateConfig(predictions=model)).mean_dice


if __name__ == "__main__":
    try:
        main()
    except MedssmError as error:
        raise SystemExit(f"error: {error}\n(exit code {error.exit_code})") from None
