"""The story of a study of reconstruction as one Hydra application; `--multirun` sweeps it.

    python pipelines/reconstruction.py dataset=./scans kspace=./unseen_scans
    python pipelines/reconstruction.py --multirun dataset=7 kspace=./unseen fold=0,1

It returns fastMRI's SSIM on `kspace` (one minus the error on withheld samples where there is no
reference), for sweepers to maximise.
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
from medssm.fields.reconstruction.stages import FIELD
from medssm.runs.compose import hydra_word
from medssm.runs.field import EvaluateRequest, PredictRequest, StudyRequest

_OWN = ("dataset", "home", "kspace")


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


# Hydra would make a folder named ~
OmegaConf.register_new_resolver("absolute", _absolute, replace=True)


@hydra.main(str(conf_folder()), "pipeline_reconstruction", version_base="1.3")
def main(config: DictConfig) -> float:
    """Plan, preprocess, train, predict and evaluate; each as far as it is not done."""
    configure()
    try:
        return _study(config)
    except MedssmError as error:  # Hydra would wrap it in a traceback, and end with 1
        _leave(error)


def _study(config: DictConfig) -> float:
    for key in ("dataset", "kspace"):
        if OmegaConf.is_missing(config, key):
            raise UsageError(f"{key}=… is missing: a folder of k-space.")
    words = [word.lstrip("+") for word in HydraConfig.get().overrides.task]
    words = [*_name_of_job(), *(word for word in words if word.partition("=")[0] not in _OWN)]
    home = Path(_absolute(config.home))
    trained = FIELD.train(StudyRequest(str(config.dataset), home, tuple(words)))
    model = Path(str(trained.facts["model"]))
    output = home / "predictions" / model.parent.name / model.name
    FIELD.predict(PredictRequest(model, Path(_absolute(config.kspace)), output, home))
    report = FIELD.evaluate(EvaluateRequest(output, None, None, None, home))
    say("%s", "\n".join(report.lines))
    return float(report.facts["score"])


def _name_of_job() -> list[str]:
    """Each job of a sweep has a model folder of its own; a run=NAME that follows wins."""
    job = HydraConfig.get()
    return [f"run=sweep_{job.job.num:03d}"] if job.mode == RunMode.MULTIRUN else []


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
