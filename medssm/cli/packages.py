"""`export --to package` and `import package`: a model folder of any field as one checked zip."""

import argparse
from pathlib import Path

from medssm.cli.answer import Answer
from medssm.core.errors import UsageError


def run_export_package(arguments: argparse.Namespace) -> Answer:
    """Pack a model folder.

    Raises:
        UsageError: A word that a package does not take.
    """
    from medssm.bundle.package import write_package

    if arguments.embed or arguments.overrides:
        word = "--embed" if arguments.embed else arguments.overrides[0]
        raise UsageError(f"medssm export --to package takes no {word}.")
    output = Path(arguments.output)
    packed = write_package(Path(arguments.model), output, arguments.force)
    facts = {
        "field": packed.field,
        "dataset": packed.dataset,
        "run": packed.run,
        "files": len(packed.files),
        "bytes": packed.bytes,
    }
    lines = [f"{packed.field}: {len(packed.files)} files, {packed.bytes / 1e6:.1f} MB"]
    return Answer(facts, lines, [output], ("medssm", "import", "package", str(output)))


def run_import_package(arguments: argparse.Namespace) -> Answer:
    """Unpack a package under HOME/results.

    Raises:
        UsageError: A word that a package does not take.
    """
    from medssm.bundle.package import import_package

    words = [word for word in (arguments.file, *arguments.overrides) if word]
    if words:
        raise UsageError(f"medssm import package FILE: unexpected word {words[0]!r}.")
    folder, package = import_package(
        Path(arguments.source), arguments.home, arguments.name, arguments.force
    )
    facts = {
        "field": package.field,
        "dataset": package.dataset,
        "model": str(folder),
        "files": len(package.files),
        "packed_by": package.version,
    }
    lines = [
        f"{package.field}: {len(package.files)} files, all as the manifest says "
        f"(packed by medssm {package.version})"
    ]
    following = ("medssm", "predict", str(folder), "-i", "INPUT", "-o", "PREDICTIONS")
    return Answer(facts, lines, [folder], following)
