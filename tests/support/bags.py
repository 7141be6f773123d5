"""Synthetic studies of bags from a seed: feature files with places, and their table."""

from pathlib import Path

import numpy as np

from medssm.data.bags import SlideRow, write_bag, write_slide_table

WIDTH = 6
FACTS = {"encoder": "test", "order": "row", "tile_px_level0": 256, "level0_width": 2560,
         "level0_height": 2560}  # fmt: skip


def grid(count: int) -> np.ndarray:
    """Corners of tiles row by row, ten a row."""
    return np.stack((np.arange(count) % 10, np.arange(count) // 10), 1) * 256


def make_study(
    folder: Path, slides: int = 24, seed: int = 0, survival: bool = False, per_patient: int = 1
) -> Path:
    """Feature files of normal and tumour slides, a few tiles of which tell; returns labels.csv."""
    rows = []
    for index in range(slides):
        generator = np.random.default_rng((seed, index))
        count = int(generator.integers(5, 30))
        features = generator.standard_normal((count, WIDTH)).astype(np.float32)
        sick = bool((index // per_patient) % 2)
        if sick:
            features[: max(2, count // 4), 0] += 4.0
        write_bag(folder / f"slide_{index:02d}.h5", features, grid(count), FACTS)
        patient = f"patient_{index // per_patient:02d}"
        if survival:
            own = np.random.default_rng((seed, 1000 + index // per_patient))
            months = float(own.uniform(1, 12) if sick else own.uniform(20, 60))
            event = bool(own.random() < 0.8)
            rows.append(SlideRow(f"slide_{index:02d}", patient, None, round(months, 2), event))
        else:
            rows.append(SlideRow(f"slide_{index:02d}", patient, "tumour" if sick else "normal"))
    return write_slide_table(folder / "labels.csv", rows)
