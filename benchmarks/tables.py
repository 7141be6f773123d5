"""Fill the tables of our pages from results/*.json: no figure there is written by hand."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import reconstruction_tables as reconstruction
from benchmarks.markdown import table as _table
from benchmarks.markdown import where as _where

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [
    *(
        ROOT / "docs" / f"{name}.md"
        for name in ("backends", "ecg", "exports", "networks", "pathology", "reconstruction")
    ),
    ROOT / "README.md",
]
CONTEST = "equal_time_dataset004_hippocampus.json"
NETWORKS = "networks_dataset004_hippocampus"
_BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def write() -> None:
    """Bring the pages up to the results."""
    for page in PAGES:
        page.write_text(render(page.read_text(encoding="utf-8")), encoding="utf-8")


def render(page: str) -> str:
    """The page with every block of figures replaced by what the results say."""
    results: dict[str, Any] = {}
    for kind in ("cpu", "gpu"):
        file = RESULTS / f"{kind}.json"
        if file.exists():
            results |= json.loads(file.read_text(encoding="utf-8"))
    if (RESULTS / CONTEST).exists():
        figures = json.loads((RESULTS / CONTEST).read_text(encoding="utf-8"))
        results["contest"] = {"figures": figures}

    alone = {"mil": "mil", "bag_layer": "bag_layer", "networks": NETWORKS, "ecg": "ecg_equal_time",
             "recurrent_units": "recurrent_units", "exports": "exports",
             "reconstruction_cost": "reconstruction_cost_cpu",
             "reconstruction_acceptance": "reconstruction_acceptance"}  # fmt: skip
    for part, name in alone.items():
        if (RESULTS / f"{name}.json").exists():
            figures = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
            results[part] = {"figures": figures}

    def block(match: re.Match[str]) -> str:
        part = match[2]
        found = results.get(part)
        lines = _TABLES[part](found["figures"]) if found else [_absent(part)]
        where = [_where(found["machine"]), ""] if found and "machine" in found else []
        return match[1] + "\n" + "\n".join([*where, *lines]) + "\n\n" + match[3]

    return _BLOCK.sub(block, page)


def _networks(figures: dict[str, Any]) -> list[str]:
    names = ["steps", "seconds_a_step", "peak_GiB", "parameters_M", "GMACs", "scan_GFLOPs", "load"]
    rows = [
        [row["network"], row["configuration"], row["dice"],
         "-".join(map(str, row["dice_interval"])), *(row[name] for name in names)]
        for row in figures["rows"]
    ]  # fmt: skip
    machine = figures["machine"]
    heads = ["network", "configuration", "mean Dice", "95 % interval", "steps", "s a step",
             "peak GiB", "parameters, M", "GMACs", "scans, GFLOPs", "load"]  # fmt: skip
    return [
        f"{figures['what']}; {machine['threads']} thread of an {machine['processor']};"
        f" `{figures['command']}`.",
        "",
        *_table(heads, rows),
    ]


def _ecg(figures: dict[str, Any]) -> list[str]:
    names = ["epochs", "AUROC", "AUPRC", "Challenge metric", "challenge_at_half", "load_before"]
    rows = [[row["network"], *(row[name] for name in names)] for row in figures["rows"]]
    machine = figures["machine"]
    heads = ["network", "epochs", "AUROC", "AUPRC", "Challenge metric", "with thresholds of 0.5",
             "load before"]  # fmt: skip
    told = f"{figures['what']}; {machine['threads']} threads of an {machine['processor']}."
    return [told, "", *_table(heads, rows)]


def _prototype(figures: dict[str, Any]) -> list[str]:
    names = ["ours", "prototype", "unbind loop"]
    rows = [
        [row["shape"], row["pass"], *(row["cpu_ms"][name] for name in names),
         row["ratio_to_prototype"], row["ratio_to_unbind"], row["prototype_to_unbind"]]
        for row in figures["rows"]
    ]  # fmt: skip
    heads = ["shape", "pass", *(f"{name}, CPU ms" for name in names), "prototype / ours",
             "unbind loop / ours", "unbind loop / prototype"]  # fmt: skip
    return _table(heads, rows)


def _absent(part: str) -> str:
    if part == "profile_before":
        return "Not kept."
    own = {
        "gpu": " --gpu",
        "mil": ".mil FOLDER",
        **{name: f".{name}" for name in ("bag_layer", "recurrent_units", "reconstruction_cost")},
    }
    command = f"python -m benchmarks{own.get(part, f' {part}')}"
    return f"Not measured yet; `{command}` takes the figures."


def _scan(figures: dict[str, Any]) -> list[str]:
    peers = ["ours", "unbind loop", "chunked", "indexed loop"]
    rows = [
        [row["shape"], row["states"], row["pass"], row["memory"],
         *(row["cpu_ms"].get(name) for name in peers),
         row["ratio_to_unbind"], row["times_the_floor"]]
        for row in figures["against_peers"]
    ]  # fmt: skip
    heads = ["shape", "states", "pass", "memory", *(f"{name}, CPU ms" for name in peers),
             "unbind loop / ours", "ours / floor"]  # fmt: skip
    cases = list(dict.fromkeys(row["case"] for row in figures["alone"]))
    found = {(r["shape"], r["pass"], r["case"]): r for r in figures["alone"]}
    keys = dict.fromkeys((r["shape"], r["pass"]) for r in figures["alone"])
    alone = [
        [*key, *(f"{found[*key, c]['wall_ms']:g} / {found[*key, c]['cpu_ms']:g}" for c in cases)]
        for key in keys
    ]
    return [
        *_table(heads, rows), "",
        "Our scan alone, 16 states, wall / CPU milliseconds:", "",
        *_table(["shape", "pass", *cases], alone),
    ]  # fmt: skip


def _routes(figures: dict[str, Any]) -> list[str]:
    rows = [
        [row["case"], row["states"], row["pass"], row["cpu_ms"]["table"],
         row["copies_of_u_over_table"], row["copies_of_all_over_table"]]
        for row in figures["routes"]
    ]  # fmt: skip
    lines = _table(
        ["case", "states", "pass", "ours, CPU ms", "copies of u / ours", "copies of all / ours"],
        rows,
    )
    local = [row for row in figures["local_window"] if "refused" not in row]
    if local:
        lines += ["", "LBMamba's local scan, 16 states, over the plain forward scan:", ""]
        lines += _table(
            ["shape", "pass", "local / plain", "two routes / plain"],
            [[r["shape"], r["pass"], r["local_over_plain"], r["two_routes_over_plain"]]
             for r in local],
        )  # fmt: skip
    return lines


def _overhead(figures: dict[str, Any]) -> list[str]:
    memory = [
        [row["shape"], row["who"], row["inputs_mb"], row["extra_mb"], row["times_the_inputs"]]
        for row in figures["memory"]
    ]
    calls = [[name, micro] for name, micro in figures["call_us"].items()]
    return [
        *_table(["smallest call", "microseconds"], calls), "",
        *_table(["shape", "who", "inputs, MB", "extra peak, MB", "times the inputs"], memory),
    ]  # fmt: skip


def _bag(figures: list[dict[str, Any]]) -> list[str]:
    names = ["tokens", "channels", "states", "wall_ms", "cpu_ms", "inputs_mb", "extra_mb"]
    return _table([n.replace("_", " ") for n in names], [[r[n] for n in names] for r in figures])


def _step(figures: list[dict[str, Any]]) -> list[str]:
    names = ["network", "precision", "threads", "step_s", "cpu_s"]
    return _table([n.replace("_", " ") for n in names], [[r[n] for n in names] for r in figures])


def _profile(figures: dict[str, Any]) -> list[str]:
    rows = [[part, share] for part, share in figures["percent"].items()]
    return [f"A step of {figures['step_ms']:g} ms under the profiler:", "",
            *_table(["part", "percent"], rows)]  # fmt: skip


def _gpu(figures: dict[str, Any]) -> list[str]:
    rows = []
    for row in figures["rows"]:
        least = row["floors_ms"]
        rows.append(
            [row["shape"], row["type"], row["pass"], row["ms"]["ours"], least.get("bytes"),
             least.get("exponentials"), row.get("share_of_floor"),
             row["ratio"].get("mamba_ssm with copies"), row["ratio"]["copies around ours"]]
        )  # fmt: skip
    heads = ["shape", "type", "pass", "ours, ms", "bytes floor, ms", "exponentials floor, ms",
             "share", "mamba_ssm / ours", "copies / ours"]  # fmt: skip
    return [f"Device: {figures['device']}.", "", *_table(heads, rows)]


def _contest(figures: dict[str, Any]) -> list[str]:
    machine = figures["machine"]
    rows = [
        [row["name"], row["Dice"], "-".join(map(str, row["dice_interval"])), row["HD95_mm"],
         row["steps"]]
        for row in figures["rows"]
    ]  # fmt: skip
    heads = ["", "mean Dice", "95 % interval", "HD95, mm", "steps"]
    where = f"{figures['what']}; {machine['threads']} threads of an {machine['processor']}."
    return [where, "", *_table(heads, rows)]


def _mil(figures: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for data, table in figures["rows"].items():
        rows = [
            [name, ", ".join(f"{each:.3f}" for each in row["accuracy"]), f"{row['mean']:.3f}",
             f"{row['auc']:.3f}", row.get("against_abmil"), f"{max(row['seconds']):.0f}"]
            for name, row in table.items()
        ]  # fmt: skip
        heads = [data.partition("_")[2], "accuracy a seed", "mean", "AUC",
                 "less ABMIL, ± paired standard error", "seconds a seed"]  # fmt: skip
        lines += [*_table(heads, rows), ""]
    machine, runs = figures["machine"], figures["runs"]
    run = max(runs, key=lambda each: len(each["models"]))
    what = f"{'; '.join(run['models'])}: {len(run['seeds'])} seeds in {run['seconds']:.0f} s"
    return [*lines, f"{what} on {machine['threads']} threads of an {machine['processor']}."]


def _bag_layer(figures: dict[str, Any]) -> list[str]:
    rows = [
        [who, row["tokens"], row["seconds"], row["cpu_seconds"], row["cpu_us_per_token"],
         row["peak_mb"], row.get("times_slower"), row.get("cpu_times")]
        for who in ("streamed", "loop")
        for row in figures[who]
    ]  # fmt: skip
    heads = ["", "tiles", "seconds", "CPU seconds", "CPU µs a tile", "peak of the process, MB",
             "loop / streamed", "by CPU time"]  # fmt: skip
    machine = figures["machine"]
    return [
        *_table(heads, rows), "",
        f"{machine['threads']} threads of an {machine['processor']}, load average "
        f"{machine['load']:g}; Python, torch and the layer alone take "
        f"{figures['start']['peak_mb']} MB. Streamed and loop differ by "
        f"{figures['difference']:.0e} at most.",
    ]  # fmt: skip


def _exports(figures: dict[str, Any]) -> list[str]:
    names = ["pt2_to_ours", "onnx_to_ours", "ours_to_float64", "onnx_to_float64", "ours_cpu_ms",
             "pt2_over_ours", "onnx_over_ours"]  # fmt: skip
    rows = [
        [row["network"], row["weights"], " and ".join(row["sizes"]), row["largest_logit"],
         *(row[name] for name in names), row["machine"]["load"]]
        for row in figures["rows"]
    ]  # fmt: skip
    heads = ["network", "weights", "sizes", "largest logit", ".pt2 to ours", "ONNX to ours",
             "ours to float64", "ONNX to float64", "ours, CPU ms", ".pt2 / ours", "ONNX / ours",
             "load"]  # fmt: skip
    machine = figures["rows"][0]["machine"]
    told = f"{machine['threads']} thread of an {machine['processor']}; batches 1 and 2."
    return [told, "", *_table(heads, rows)]


_TABLES: dict[str, Callable[[Any], list[str]]] = {
    "scan": _scan,
    "ecg": _ecg,
    "networks": _networks,
    "prototype": _prototype,
    "routes": _routes,
    "overhead": _overhead,
    "bag": _bag,
    "step": _step,
    "profile": _profile,
    "profile_before": _profile,
    "gpu": _gpu,
    "contest": _contest,
    "mil": _mil,
    "bag_layer": _bag_layer,
    "recurrent_units": reconstruction.recurrent_units,
    "reconstruction_cost": reconstruction.reconstruction_cost,
    "reconstruction_acceptance": reconstruction.reconstruction_acceptance,
    "exports": _exports,
}
