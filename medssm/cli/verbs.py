"""The verbs and their flags as plain data: the parser, the help and the completion read them."""

from dataclasses import dataclass

OVERRIDES = "key=value"


@dataclass(frozen=True)
class Flag:
    """One option of a verb.

    Args:
        names: Spellings, the long one last.
        help: What it does.
        value: How to call its value, or None for a switch.
        required: Whether the verb cannot run without it.
        counted: Whether more of it says more.
        unless: key=value words with any of which the verb can run without it.
    """

    names: tuple[str, ...]
    help: str
    value: str | None = None
    required: bool = False
    counted: bool = False
    unless: tuple[str, ...] = ()


@dataclass(frozen=True)
class Word:
    """One positional word of a verb."""

    name: str
    help: str
    optional: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verb:
    """One verb: what it does, its words and flags, and where its code is.

    Args:
        help: One line.
        runner: "module:function", imported when the verb runs.
        words: Positional words.
        flags: Options beside the common ones.
        overrides: Whether key=value words are taken.
        example: A command that works.
    """

    help: str
    runner: str
    words: tuple[Word, ...] = ()
    flags: tuple[Flag, ...] = ()
    overrides: bool = False
    example: str = ""


COMMON = (
    Flag(("--home",), "folder for raw/, preprocessed/, results/ (default ~/medssm)", "DIR"),
    Flag(("--json",), "answer with one JSON object on stdout"),
    Flag(("-q", "--quiet"), "say only the result"),
    Flag(("-v", "--verbose"), "say more; a bug shows its traceback", counted=True),
)
DATASET = Word("dataset", "a folder, or a name or number under the home folder")
SKIP_BAD = Flag(("--skip-bad",), "leave out cases with errors instead of refusing the data set")
FORCE = Flag(("--force",), "do it again even if the result is there and fits")

# what a model can leave as; not every field has every kind
EXPORT_KINDS = (
    "bundle", "pt2", "onnx", "torchscript", "safetensors", "nnunet", "package", "direct",
)  # fmt: skip

# how a source is laid out -> the field it is for
IMPORT_KINDS = {
    "folder": "segmentation",
    "msd": "segmentation",
    "nnunet": "segmentation",
    "nnunet-model": "segmentation",
    "isic": "segmentation",
    "lungs": "segmentation",
    "synapse": "segmentation",
    "acdc": "segmentation",
    "lits": "segmentation",
    "ecg": "ecg",
    "kspace": "reconstruction",
    "archive": "pretraining",
    "slides": "pathology",
    "features": "pathology",
    "bags": "pathology",
}
# the fields with a demo
DEMOS = ("segmentation", "pretraining", "reconstruction", "ecg", "pathology")

VERBS: dict[str, Verb] = {
    "plan": Verb(
        "check a data set and decide spacing, patch and batch",
        "medssm.cli.stages:run_plan",
        (DATASET,),
        (SKIP_BAD, FORCE),
        overrides=True,
        example="medssm plan 4 budget=gpu_24gb",
    ),
    "preprocess": Verb(
        "crop, resample and normalise every case (plans first if need be)",
        "medssm.cli.stages:run_preprocess",
        (DATASET,),
        (
            SKIP_BAD,
            FORCE,
            Flag(("--backend",), "archives: serial, process, dask or slurm", "NAME"),
            Flag(("--shard",), "archives: do the i-th of n parts, i from 0", "I/N"),
        ),
        overrides=True,
        example="medssm preprocess 4 preprocess.workers=4",
    ),
    "train": Verb(
        "train a network (plans and preprocesses first if need be)",
        "medssm.cli.stages:run_train",
        (DATASET,),
        (SKIP_BAD, FORCE),
        overrides=True,
        example="medssm train ./my_data network=unet trainer.max_epochs=50",
    ),
    "predict": Verb(
        "apply a trained model: label images on their own grid, reconstruct k-space, read ECGs "
        "or slides",
        "medssm.cli.stages:run_predict",
        (Word("model", "a model folder, as `medssm train` names it at its end"),),
        (
            Flag(
                ("-i", "--input"),
                "one image, a folder of images, or DICOM: a folder, a tree or a zip of series",
                "IN",
                required=True,
                unless=("cases=validation", "cases=test"),
            ),
            Flag(
                ("-o", "--output"),
                "folder for the label maps; DICOM objects (dicom=[seg,rtstruct]) go to OUT/dicom",
                "OUT",
                required=True,
            ),
            FORCE,
        ),
        overrides=True,
        example="medssm predict MODEL -i images -o predictions folds=[0,1]",
    ),
    "evaluate": Verb(
        "score predictions against references and write a report",
        "medssm.cli.stages:run_evaluate",
        (Word("predictions", "a folder that `medssm predict` wrote"),),
        (
            Flag(("-r", "--references"), "folder of reference labels", "REF"),
            Flag(("-o", "--output"), "folder for the report (default: in PREDICTIONS)", "OUT"),
            Flag(("--against",), "another folder of predictions to compare with", "OTHER"),
        ),
        overrides=True,
        example="medssm evaluate predictions -r labels",
    ),
    "export": Verb(
        "hand a model over: MONAI bundle, .pt2, ONNX, plain weights, nnU-Net; or plans for nnU-Net",
        "medssm.cli.stages:run_export",
        (
            Word("model", "a model folder, as `medssm train` names it at its end; or plans"),
            Word("output", "the folder or file to write; after plans a data set or plans JSON"),
        ),
        (
            Flag(
                ("--to",),
                f"{', '.join(EXPORT_KINDS[:-1])} or {EXPORT_KINDS[-1]} (default bundle)",
                "KIND",
            ),
            Flag(("--embed",), "bundle: put the network's code inside, so that it needs no medssm"),
            FORCE,
        ),
        overrides=True,
        example="medssm export MODEL ./MyBundle --to bundle --embed",
    ),
    "show": Verb(
        "list what can be chosen: networks, losses, metrics, budgets, data sets, ...",
        "medssm.cli.show:run_show",
        (
            Word("table", "networks, losses, budgets, datasets, ...", optional=True),
            Word("name", "one row of the table, explained", optional=True),
        ),
        (
            Flag(("--size",), "show network: input to count at, e.g. 224,224", "N,N"),
            Flag(("--channels",), "show network: channels of that input (default 1)", "N"),
            Flag(("--classes",), "show network: logits (default 2)", "N"),
        ),
        example="medssm show network vm_unet --size 256,256 --channels 3",
    ),
    "doctor": Verb(
        "say what this machine can do, and test it for two seconds",
        "medssm.cli.doctor:run_doctor",
        example="medssm doctor",
    ),
    "demo": Verb(
        "make a synthetic data set and run plan to report on it",
        "medssm.cli.stages:run_demo",
        (
            Word(
                "field",
                f"which field to show: {', '.join(DEMOS)}",
                optional=True,
                choices=DEMOS,
            ),
        ),
        (Flag(("--seed",), "seed of the synthetic data", "N"),),
        overrides=True,
        example="medssm demo",
    ),
    "import": Verb(
        "bring a data set under the home folder, or an author's checkpoint under our names",
        "medssm.cli.stages:run_import",
        (
            Word(
                "kind",
                "how the source is laid out: folder, msd, nnunet, or as isic, lungs, synapse, "
                "acdc or lits are handed out; ecg for records; kspace for MRI; slides, features or "
                "bags for pathology; archive for pretraining; nnunet-model for a model of nnU-Net, "
                "its folder or zip; package FILE for one of medssm's; or checkpoint NAME FILE",
                choices=(*IMPORT_KINDS, "checkpoint", "package"),
            ),
            Word("source", "the folder; or the network's name, e.g. vm_unet"),
            Word("file", "the checkpoint of that network", optional=True),
        ),
        (
            Flag(("--name",), "DatasetNNN_Name (default: made from the folder's name)", "NAME"),
            Flag(("--copy",), "copy the files instead of naming their places"),
            Flag(("--channels",), "names of the channels, e.g. CT or T1,T2", "A,B"),
            Flag(("--labels",), "names of the foreground values 1, 2, ... in order", "A,B"),
            Flag(("-o", "--output"), "folder for a checkpoint (default: HOME/checkpoints)", "OUT"),
            Flag(("--patient",), "regular expression that finds the patient in a case name", "RE"),
            Flag(("--patients",), "CSV with the columns case,patient", "FILE"),
            Flag(("--size",), "isic, lungs: resize pictures to squares of this edge", "N"),
            Flag(
                ("--trust",),
                "checkpoints that hold more than tensors: read them in a process of their own that "
                "admits arrays and containers only",
            ),
            FORCE,
        ),
        overrides=True,
        example="medssm import folder ./my_data --name Dataset004_Hippocampus",
    ),
}
SHELLS = ("bash", "zsh", "fish")
