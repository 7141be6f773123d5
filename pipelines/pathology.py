"""The story of a study of bags as one Hydra application; `--multirun` sweeps it.

    python pipelines/pathology.py dataset=601 network=abmil
    python pipelines/pathology.py --multirun dataset=601 network=abmil,mamba_mil seed=0,1

It returns the area under the ROC curve (or the concordance) of all test bags, for sweepers.
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
from medssm.fields.pathology.evaluate import EvaluateConfig, evaluate
from medssm.fields.pathology.predict import PredictConfig, predict
from medssm.fields.pathology.story import open_study, train_study
from medssm.runs.compose import hydra_word
from medssm.runs.field import StudyRequest

# keys of this application that are no settings of a stage
_OWN = ("dataset", "home")


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


# Hydra would make a folder named ~ where it was started
OmegaConf.register_new_resolver("absolute", _absolute, replace=True)


@hydra.main(config_path=str(conf_folder()), config_name="pipeline_pathology", version_base="1.3")
def main(config: DictConfig) -> float:
    """Plan, preprocess, train every fold, predict its test bags and evaluate."""
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
    model = train_study(open_study(StudyRequest(str(config.dataset), home, tuple(words)))).model
    output = home / "predictions" / model.parent.name / model.name
    predict(PredictConfig(model=model, output=output, cases="test"))
    found = evaluate(EvaluateConfig(predictions=output))
    name = "auc" if "auc" in found.scores.measures else "c_index"
    value = found.scores.measures[name].pooled
    say("%s %.4f; wrote %s", name, value, found.report)
    return value


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
