"""The fingerprint of a data set by nnU-Net's rules, over threads and with a case named on error."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
    DatasetFingerprintExtractor,
)
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

from medssm.core.errors import BadDataError
from medssm.core.log import Progress
from medssm.data.manifest import Case, Manifest
from medssm.fields.segmentation.nnunet.staging import dataset_json, muted

# as stock nnU-Net: so many foreground voxels over the whole data set, drawn with replacement
_SAMPLED_VOXELS = 10e7
_PERCENTILES = (0.5, 50.0, 99.5)


def extract_fingerprint(manifest: Manifest, workers: int) -> dict[str, Any]:
    """Measure spacings, shapes after the crop to nonzero, and foreground intensities.

    Args:
        manifest: The data set, every case checked and labelled.
        workers: Threads; reading and cropping happen outside of Python's lock.

    Raises:
        BadDataError: A case cannot be read (named), or no voxel of the set is foreground.

    Source:
        nnU-Net v2, dataset fingerprint; equal to the stock extractor to the digit.
    """
    cases = list(manifest.cases.values())
    if not cases:
        raise BadDataError(f"{manifest.folder}: no usable training case is left to measure.")
    with muted():
        reader = determine_reader_writer_from_dataset_json(
            dataset_json(manifest), str(cases[0].images[0])
        )
    samples = int(_SAMPLED_VOXELS // len(cases))
    bar = Progress(len(cases), "measure")

    def analyse(case: Case) -> tuple[Any, ...]:
        try:
            images = [str(image) for image in case.images]
            result = DatasetFingerprintExtractor.analyze_case(
                images, str(case.label), reader, samples
            )
        except Exception as error:
            raise BadDataError(
                f"{case.name}: {case.images[0]} could not be measured: {error}"
            ) from error
        bar.step(case.name)
        return result

    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        results = list(pool.map(analyse, cases))
    return {
        "spacings": [list(map(float, result[1])) for result in results],
        "shapes_after_crop": [list(map(int, result[0])) for result in results],
        "foreground_intensity_properties_per_channel": _intensities(manifest, results),
        "median_relative_size_after_cropping": float(np.median([each[4] for each in results])),
    }


def _intensities(manifest: Manifest, results: list[tuple[Any, ...]]) -> dict[str, Any]:
    properties = {}
    for channel in range(len(manifest.channels)):
        values = np.concatenate([result[2][channel] for result in results])
        if values.size == 0:
            raise BadDataError(
                f"{manifest.folder}: no label of the whole data set holds a foreground voxel; "
                "check that the label files belong to the images."
            )
        low, median, high = np.percentile(values, np.array(_PERCENTILES))
        properties[str(channel)] = {
            "mean": float(np.mean(values)),
            "median": float(median),
            "std": float(np.std(values)),
            "min": float(np.min(values)),
            "max": float(np.max(values)),
            "percentile_99_5": float(high),
            "percentile_00_5": float(low),
        }
    return properties
