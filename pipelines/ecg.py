"""The story of a study of electrocardiograms as one Hydra application; `--multirun` sweeps it.

    python pipelines/ecg.py dataset=./records records=./unseen_records
    python pipelines/ecg.py --multirun dataset=7 records=./unseen network=ecg_vim_tiny,ecg_cnn

It returns the macro AUPRC on `records`, for sweepers to maximise.
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
from medssm.fields.ecg.evaluate import EvaluateConfig, evaluate
from medssm.fields.ecg.predict import PredictConfig, predict
from medssm.fields.ecg.story import train_study
from medssm.runs.compose import hydra_word
from medssm.runs.field import StudyRequest

# keys of this application that are no settings of a stage
_OWN = ("dataset", "home", "records")


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


# Hydra would make a folder named ~ where it was started
OmegaConf.register_new_resolver("absolute", _absolute, replace=True)


@hydra.main(config_path=str(conf_folder()), config_name="pipeline_ecg", version_base="1.3")
def main(config: DictConfig) -> float:
    """Plan, preprocess, train, predict and evaluate; each as far as it is not done."""
    configure()
    try:
        return _study(config)
    except MedssmError as error:
        # Hydra would wrap it in a traceback, and end with 1 whatever it was
        _leave(error)


def _study(config: DictConfig) -> float:
    for key in ("dataset", "records"):
        if OmegaConf.is_missing(config, key):
            raise UsageError(f"{key}=… is missing: a folder of records.")
    words = [word.lstrip("+") for word in HydraConfig.get().overrides.task]
    words = [*_name_of_job(), *(word for word in words if word.partition("=")[0] not in _OWN)]
    home = Path(_absolute(config.home))
    model = train_study(StudyRequest(str(config.dataset), home, tuple(words)))
    output = home / "predictions" / model.parent.name / model.name
    predict(PredictConfig(model, output, Path(_absolute(config.records))))
    report = evaluate(EvaluateConfig(output))
    macro = report.scores.macro("auprc")
    say("macro AUPRC %.4f; wrote %s", macro, report.report)
    return macro


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
