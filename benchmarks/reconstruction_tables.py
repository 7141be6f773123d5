"""The tables of reconstruction, from its results."""

from typing import Any

from benchmarks.markdown import table as _table
from benchmarks.markdown import where as _where


def recurrent_units(figures: dict[str, Any]) -> list[str]:
    """Units at equal parameters and time."""
    names = ["hidden_channels", "parameters", "steps", "seconds_a_step", "psnr", "ssim",
             "foreground_ssim"]  # fmt: skip
    rows = [[unit, *(row[name] for name in names)] for unit, row in figures["figures"].items()]
    heads = ["unit", "channels", "parameters", "steps", "seconds a step", "PSNR", "SSIM",
             "foreground SSIM"]  # fmt: skip
    told = f"{figures['minutes']:g} minutes a unit on {figures['threads']} threads."
    return [f"{told} {_where(figures['machine'])}", "", *_table(heads, rows)]


def reconstruction_cost(figures: dict[str, Any]) -> list[str]:
    """Time and memory of every size."""
    modes = ["forward", "step", "step_saving_memory"]
    rows = []
    for name, row in figures["figures"].items():
        found = [row.get(mode) for mode in modes]
        first = next(each for each in found if each)
        shape = " x ".join(map(str, first["coils_h_w"]))
        busy = row.get("taken", figures["machine"])["busy_cores_before"]
        rows.append([f"`{name}`", shape, *map(_time_and_memory, found), busy])
    heads = ["`network=`", "coils x H x W", "a slice", "a training step",
             "a step with `save_memory`", "busy cores before"]  # fmt: skip
    machine = figures["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads"
    return [f"{where}, torch {machine['torch']}.", "", *_table(heads, rows)]


def reconstruction_acceptance(figures: dict[str, Any]) -> list[str]:
    """Images, withheld samples, coverage."""
    whole = figures["equispaced"]["figures"]
    names = ["fastmri.whole.psnr", "fastmri.whole.ssim", "fastmri.foreground.ssim"]
    images = [
        [kind, method, *(f"{row[name]:.{2 if 'psnr' in name else 3}f}" for name in names)]
        for kind in ("head", "phantoms")
        for method, row in whole[kind].items()
    ]
    blind = []
    for part, told in (("tutorial", ""), ("tuned", ", tuned to the slice")):
        for way in ("network alone", "network"):
            row = figures[part]["figures"][way]
            blind.append([f"{way}{told}", f"{row['recurrent_varnet']:.4f}"])
    others = figures["tuned"]["figures"]["network"]
    blind += [[name, f"{others[name]:.4f}"] for name in ("cg_sense", "l1_wavelet")]
    fitted = figures["calibration"]["figures"]
    shares = [
        [kind, *(f"{fitted[f'{kind}_{when}']['within_2']:.1%}" for when in ("before", "after"))]
        for kind in ("phantoms", "head")
    ]
    own = fitted["fitted"]
    halves = [f"{own[f'within_2_{when}']:.1%}" for when in ("before", "after")]
    shares.append(["the phantoms it was fitted on, each half by the other", *halves])
    runs = [
        f"{name}: {figures[name]['figures']['training']['steps']} steps in "
        f"{figures[name]['figures']['training']['seconds'] / 60:.1f} minutes"
        for name in ("equispaced", "tutorial", "tuned")
    ]
    return [
        f"Trainings on two threads of a crowded machine: {', '.join(runs)}.",
        "",
        *_table(["fourfold, 14 centre columns", "", "PSNR", "SSIM", "foreground SSIM"], images),
        "",
        *_table(["real tutorial slice, 8.04-fold", "error on withheld samples"], blind),
        "",
        *_table(["errors within two deviations", "as stated", "with the factor"], shares),
    ]


def _time_and_memory(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    if "more_than_mb" in row:
        return f"more than {row['more_than_mb']:,} MB"
    return f"{row['seconds']:g} s, {row['extra_mb']:,} MB"
