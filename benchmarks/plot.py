"""One picture of the results: how many times faster than the peers, and how far from the floor."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Bars = dict[str, dict[str, float]]


def draw(kind: str) -> list[Path]:
    """Draw results/KIND.json into results/KIND.svg and .png.

    Args:
        kind: "cpu" or "gpu".

    Returns:
        The files written; none where the results hold nothing to draw.
    """
    file = RESULTS / f"{kind}.json"
    result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    panels = _cpu(result) if kind == "cpu" else _gpu(result)
    if not panels:
        return []
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "medssm"  # the same figures give the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(panels), 1, figsize=(9, 3.2 * len(panels)), squeeze=False)
    for axis, (title, bars) in zip(axes[:, 0], panels.items(), strict=True):
        _panel(axis, title, bars)
    figure.tight_layout()
    files = [RESULTS / f"{kind}.svg", RESULTS / f"{kind}.png"]
    figure.savefig(files[0], metadata={"Date": None})
    figure.savefig(files[1], dpi=120)
    pyplot.close(figure)
    return files


def _panel(axis: Any, title: str, bars: Bars) -> None:
    groups = list(bars)
    names = list(dict.fromkeys(name for group in bars.values() for name in group))
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        places = [g + (i - (len(names) - 1) / 2) * width for g in range(len(groups))]
        heights = [bars[group].get(name, 0.0) for group in groups]
        drawn = axis.bar(places, heights, width, label=name)
        axis.bar_label(drawn, labels=[f"{h:g}" if h else "" for h in heights], fontsize=7)
    axis.set_xticks(range(len(groups)), groups, fontsize=8)
    axis.set_yscale("log" if _spread(bars) > 30 else "linear")
    axis.set_title(title, fontsize=9)
    axis.legend(fontsize=7)


def _spread(bars: Bars) -> float:
    heights = [h for group in bars.values() for h in group.values() if h]
    return max(heights) / min(heights) if heights else 1.0


def _cpu(result: dict[str, Any]) -> dict[str, Bars]:
    panels: dict[str, Bars] = {}
    if "scan" in result:
        figures = result["scan"]["figures"]
        rows = [r for r in figures["against_peers"] if r["memory"] == "fresh"]
        where = f"{result['scan']['machine']['processor']}, {figures['threads']} threads"
        panels[f"CPU time of the unbind loop over ours ({where})"] = _grouped(
            rows, lambda r: f"N = {r['states']}", lambda r: r["ratio_to_unbind"]
        )
        if figures["floor"]:
            panels["CPU time of ours over the floor of arithmetic"] = _grouped(
                rows, lambda r: f"N = {r['states']}", lambda r: r["times_the_floor"]
            )
    if "routes" in result:
        bars: Bars = {}
        for row in result["routes"]["figures"]["routes"]:
            group = f"{row['case'].replace(', ', chr(10))}\nN = {row['states']}"
            if row["pass"] == "forward+backward":
                bars[group] = {
                    "copies of u": row["copies_of_u_over_table"],
                    "copies of all": row["copies_of_all_over_table"],
                }
        panels["Routes, forward+backward: CPU time of copies over ours"] = bars
    return panels


def _gpu(result: dict[str, Any]) -> dict[str, Bars]:
    if "gpu" not in result:
        return {}
    bars: Bars = {}
    for row in result["gpu"]["figures"]["rows"]:
        group = f"{row['shape'].replace(', 2', chr(10) + '2', 1)}\n{row['type']}, {row['pass']}"
        bars[group] = dict(row["ms"])
    return {f"Milliseconds on {result['gpu']['figures']['device']}": bars}


def _grouped(rows: list[dict[str, Any]], name: Any, height: Any) -> Bars:
    bars: Bars = {}
    for row in rows:
        bars.setdefault(f"{row['shape']}\n{row['pass']}", {})[name(row)] = height(row)
    return bars
