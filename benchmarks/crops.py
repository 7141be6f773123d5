"""Random crops from the store of volumes on two threads, beside decoding whole .nii.gz files."""

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from scipy import ndimage

from benchmarks.timing import ROOT
from medssm.core.files import write_json
from medssm.data.volume_files import Codec, pack_bits, volume_file, write_volume
from medssm.data.volume_store import COLUMNS, VolumeStore
from medssm.training.log_files import processor_name

SIZE = (96, 96, 96)
_NOISE_HU = 22.0


def volume(seed: int, edge: int = 256) -> np.ndarray:
    """A CT-like cube: body, lungs, bone, noise that neighbours share.

    Args:
        seed: No two are alike.
        edge: Voxels along each axis.
    """
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, edge, dtype=np.float32)] * 3, indexing="ij")

    def inside(middle: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        parts = zip(axes, middle, radii, strict=True)
        return np.asarray(sum(((a - m) / r) ** 2 for a, m, r in parts) < 1)

    hu = np.full((edge,) * 3, -1000, dtype=np.float32)
    wide = float(rng.uniform(0.7, 0.9))
    hu[inside((0, 0, 0), (wide, 0.6, 1.2))] = 45
    for side in (-0.4, 0.4):
        hu[inside((side, 0, 0.2), (0.25, 0.4, 0.6))] = -850
    hu[inside((0, -0.4, 0), (0.12, 0.12, 1.1))] = 450
    noise = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), 0.7)
    return np.asarray(np.rint(hu + noise * (_NOISE_HU / noise.std())), dtype=np.int16)


def fill(folder: Path, codec: Codec, volumes: dict[str, np.ndarray]) -> VolumeStore:
    """A store of volumes, as `medssm preprocess` leaves it."""
    rows = [",".join(COLUMNS)]
    for name, voxels in volumes.items():
        file = volume_file(folder / "store", name)
        write_volume(file, voxels, codec)
        cells = -(-voxels.shape[0] // 16)
        occupancy = pack_bits(np.ones((cells,) * 3, dtype=bool))
        write_json(file.with_suffix(".json"), {"shape": voxels.shape, "occupancy": occupancy})
        shape = "x".join(map(str, voxels.shape))
        rows.append(f"{name},p,train,hu,{shape},1x1x1,1,0,-1000,500,0,300,1,0,")
    (folder / "volumes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return VolumeStore(folder)


def rate(read: Callable[[int], Any], count: int, threads: int) -> float:
    """Crops a second of `count` calls over threads, the best of three goes."""
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for go in range(3):
            start = time.perf_counter()
            for _ in pool.map(read, range(go * count, (go + 1) * count)):
                pass
            best = max(best, count / (time.perf_counter() - start))
    return best


def measure(threads: int = 2, count: int = 300, volumes: int = 4) -> dict[str, Any]:
    """Crops a second of both codecs, raw and windowed, and of .nii.gz."""
    made = {f"{seed:024x}": volume(seed) for seed in range(volumes)}
    names = sorted(made)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for codec in ("lz4", "zstd"):
            store = fill(Path(place) / codec, codec, made)  # type: ignore[arg-type]
            stored = [volume_file(store.folder / "store", name).stat().st_size for name in names]

            def start_of(index: int, store: VolumeStore = store) -> tuple[str, tuple[int, ...]]:
                rng = np.random.default_rng(index)
                name = names[int(rng.integers(len(names)))]
                return name, store.start(name, SIZE, rng)

            def raw(index: int, store: VolumeStore = store) -> np.ndarray:
                name, start = start_of(index, store)
                return store.read(name, start, SIZE)

            def windowed(index: int, store: VolumeStore = store) -> np.ndarray:
                name, start = start_of(index, store)
                return store.windowed(name, start, SIZE)

            for what, read in (("int16", raw), ("windowed float32", windowed)):
                rows.append(
                    {"store": f"blosc2 {codec}", "crop": what,
                     "mb_per_volume": round(float(np.mean(stored)) / 1e6, 1),
                     "crops_per_second": round(rate(read, count, threads), 1)}
                )  # fmt: skip
                print(rows[-1], flush=True)
        rows.append(_nifti(Path(place), made, threads))
        print(rows[-1], flush=True)
    slow = rows[-1]["crops_per_second"]
    for row in rows:
        row["times_nii_gz"] = round(row["crops_per_second"] / slow, 1)
    return {
        "what": "random 96^3 crops of 256^3 CT-like volumes, page cache warm, best of three goes",
        "command": f"python -m benchmarks.crops --threads {threads}",
        "machine": {"processor": processor_name(), "threads": threads},
        "rows": rows,
    }


def _nifti(place: Path, made: dict[str, np.ndarray], threads: int) -> dict[str, Any]:
    files = []
    for name, voxels in made.items():
        files.append(place / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), files[-1])

    def read(index: int) -> np.ndarray:
        rng = np.random.default_rng(index)
        image = nibabel.load(files[int(rng.integers(len(files)))])
        x, y, z = rng.integers(0, 256 - 96, 3)
        return np.asarray(image.dataobj[x : x + 96, y : y + 96, z : z + 96])

    return {
        "store": ".nii.gz", "crop": "int16",
        "mb_per_volume": round(float(np.mean([f.stat().st_size for f in files])) / 1e6, 1),
        "crops_per_second": round(rate(read, 8, threads), 2),
    }  # fmt: skip


def main() -> None:
    """Measure and write results/crops.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    result = measure(parser.parse_args().threads)
    write_json(ROOT / "benchmarks" / "results" / "crops.json", result)


if __name__ == "__main__":
    main()
