"""The story of a masked pre-training as one Hydra application; `--multirun` sweeps it.

    python pipelines/pretraining.py dataset=./archive network=mamba_mim_small
    python pipelines/pretraining.py --multirun dataset=7 mask_ratio=0.6,0.75

It returns the masked loss over that of predicting the mean on held-back volumes, for sweepers to
minimise.
"""

import sys
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from medssm.core.errors import MedssmError, UsageError
from medssm.core.log import configure, say
from medssm.core.resources import conf_folder
from medssm.fields.pretraining.evaluate import evaluate_pretraining, score
from medssm.fields.pretraining.predict import predict_pretraining
from medssm.fields.pretraining.story import train_study
from medssm.runs.compose import hydra_word
from medssm.runs.field import EvaluateRequest, PredictRequest, StudyRequest

# keys of this application that are no settings of a stage
_OWN = ("dataset", "home")


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


# Hydra would make a folder named ~ where it was started
OmegaConf.register_new_resolver("absolute", _absolute, replace=True)


@hydra.main(config_path=str(conf_folder()), config_name="pipeline_pretraining", version_base="1.3")
def main(config: DictConfig) -> float:
    """Plan, preprocess, train, predict and evaluate; each as far as it is not done."""
    configure()
    try:
        return _study(config)
    except MedssmError as error:
        # Hydra would wrap it in a traceback, and end with 1 whatever it was
        _leave(error)


def _study(config: DictConfig) -> float:
    if OmegaConf.is_missing(config, "dataset"):
        raise UsageError("dataset=… is missing: a folder, or a name or number under home.")
    words = [word.lstrip("+") for word in HydraConfig.get().overrides.task]
    words = [*_name_of_job(), *(word for word in words if word.partition("=")[0] not in _OWN)]
    home = Path(_absolute(config.home))
    model = train_study(StudyRequest(str(config.dataset), home, tuple(words)))
    output = home / "predictions" / model.parent.name / model.name
    predict_pretraining(PredictRequest(model, None, output, home, ("cases=validation",)))
    evaluate_pretraining(EvaluateRequest(output, None, None, None, home))
    ratio = score(output).ratio.mean
    say("masked loss %.4f of predicting the mean; report under %s", ratio, output)
    return ratio


def _name_of_job() -> list[str]:
    """Each job of a sweep has a model folder of its own; a run=NAME that follows wins."""
    hydra_config = HydraConfig.get()
    if hydra_config.mode != RunMode.MULTIRUN:
        return []
    return [f"run=sweep_{hydra_config.job.num:03d}"]


def _leave(error: MedssmError) -> NoReturn:
    sys.stderr.write(f"error: {error}\n(exit code {error.exit_code})\n")
    sys.exit(error.exit_code)


if __name__ == "__main__":
    try:
        # a setting that no YAML lists is added, as with `medssm train`
        sys.argv[1:] = [hydra_word(word) if "=" in word else word for word in sys.argv[1:]]
    except MedssmError as error:
        _leave(error)
    main()
