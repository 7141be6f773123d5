"""Beats of a synthetic heart: what each label changes in their shape and in their time."""

from dataclasses import dataclass

import numpy as np

from medssm.data.ecg.dipole import Wave

# from the start of QRS to the peak of R, and from the middle of P to where it starts
_ONSET_S = 0.040
_HALF_P_S = 0.045
_PREMATURE = 0.32
# the range of each rhythm that has its own; 62 to 98 for the rest
_RATES_BPM = {
    "SB": (38.0, 58.0),
    "Brady": (34.0, 54.0),
    "STach": (102.0, 150.0),
    "AF": (60.0, 130.0),
    "AFL": (70.0, 150.0),
    "PR": (58.0, 82.0),
}


@dataclass(frozen=True)
class Heart:
    """What a record's labels make of a heart.

    Args:
        labels: Abbreviations of the Challenge.
        rate_bpm: Mean rate.
        pr_s: From the start of P to the start of QRS.
        qtc_s: QT at sixty beats a minute.
        axis_degrees: Turn of QRS in the frontal plane.
        size: Factor of QRS.
    """

    labels: frozenset[str]
    rate_bpm: float
    pr_s: float
    qtc_s: float
    axis_degrees: float
    size: float

    @property
    def has_p(self) -> bool:
        """Whether the atria beat before the ventricles."""
        return not self.labels & {"AF", "AFL", "PR", "Brady"}


def draw_heart(labels: frozenset[str], rng: np.random.Generator) -> Heart:
    """Parameters within the ranges that the labels stand for.

    Source:
        ECG criteria of textbooks: 60 and 100 a minute, PR 0.20 s, QTc 0.47 s, axis -30 and +90.
    """
    rate = (62.0, 98.0)
    for name, limits in _RATES_BPM.items():
        rate = limits if name in labels else rate
    pr = (0.22, 0.34) if "IAVB" in labels else (0.202, 0.225) if "LPR" in labels else (0.13, 0.18)
    axis = (-15.0, 20.0)
    if labels & {"LAD", "LAnFB"}:
        axis = (-95.0, -70.0)
    elif "RAD" in labels:
        axis = (55.0, 95.0)
    return Heart(
        labels=labels,
        rate_bpm=float(rng.uniform(*rate)),
        pr_s=float(rng.uniform(*pr)),
        qtc_s=float(rng.uniform(*((0.50, 0.58) if "LQT" in labels else (0.38, 0.43)))),
        axis_degrees=float(rng.uniform(*axis)),
        size=float(rng.uniform(0.85, 1.25)) * (0.28 if "LQRSV" in labels else 1.0),
    )


def beat_times(heart: Heart, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """When the R waves of a record come, before any premature beat."""
    mean = 60.0 / heart.rate_bpm
    times = [float(rng.uniform(-0.5, 0.5)) * mean]
    phase = rng.uniform(0, 2 * np.pi)
    while times[-1] < seconds + 1:
        if "AF" in heart.labels:
            # gamma: as irregular as fibrillation is, never shorter than the node lets through
            interval = max(0.3, mean * rng.gamma(20.0) / 20.0)
        elif "SA" in heart.labels:
            interval = mean * (1 + 0.17 * np.sin(2 * np.pi * 0.25 * times[-1] + phase))
        else:
            interval = mean * (1 + 0.012 * rng.standard_normal())
        times.append(times[-1] + float(interval))
    return np.array(times)


def make_beats(heart: Heart, seconds: float, rng: np.random.Generator) -> list[list[Wave]]:
    """All beats of a record in time, premature ones with what follows them included."""
    times = beat_times(heart, seconds, rng)
    premature = _premature(heart, times, seconds, rng)
    beats = []
    for index in range(1, len(times)):
        interval = times[index] - times[index - 1]
        kind = premature.get(index, "")
        at = times[index] - (_PREMATURE * interval if kind else 0.0)
        rate = interval if "AF" not in heart.labels else 60.0 / heart.rate_bpm
        waves = _ventricular() if kind == "PVC" else _beat(heart, rate, kind)
        beats.append([wave.moved(at) for wave in waves])
    return beats


def _premature(
    heart: Heart, times: np.ndarray, seconds: float, rng: np.random.Generator
) -> dict[int, str]:
    """Which beats come early: one to three, of those well inside and apart from each other."""
    inside = [i for i in range(2, len(times) - 1) if 0.5 < times[i] < seconds - 0.8]
    chosen: dict[int, str] = {}
    for kind in ("PAC", "PVC"):
        if kind not in heart.labels:
            continue
        free = [i for i in inside if not {i - 1, i, i + 1} & chosen.keys()]
        count = min(len(free), int(rng.integers(1, 4)))
        for index in rng.permutation(free)[: 2 * count : 2]:
            chosen[int(index)] = kind
        if free and kind not in chosen.values():
            chosen[int(free[0])] = kind
    return chosen


def _beat(heart: Heart, interval_s: float, kind: str) -> list[Wave]:
    waves = _conducted(heart)
    waves = [wave.turned(heart.axis_degrees).scaled(heart.size) for wave in waves]
    waves += _repolarisation(heart, interval_s)
    if heart.has_p:
        sign = -1.0 if kind == "PAC" else 1.0
        at = -_ONSET_S - heart.pr_s + _HALF_P_S
        waves.append(Wave(at, 0.019, (0.09 * sign, 0.12 * sign, -0.02)))
    if "PR" in heart.labels:
        waves.append(Wave(-0.035 - _ONSET_S, 0.0015, (1.0, 1.4, 0.6)))
    return waves


def _conducted(heart: Heart) -> list[Wave]:
    """QRS by the way that the excitation takes."""
    labels = heart.labels
    if "PR" in labels:
        return [Wave(-0.012, 0.020, (0.7, -0.9, 0.8)), Wave(0.030, 0.025, (0.6, -0.7, 0.9))]
    if "LBBB" in labels:
        return [
            Wave(-0.018, 0.012, (0.35, 0.35, 0.25)),
            Wave(0.018, 0.024, (0.95, 0.35, 0.85)),
            Wave(0.060, 0.024, (0.85, 0.15, 0.75)),
        ]
    if "BBB" in labels:
        # slow to both sides: broad, notched, and late to the left and front
        return [
            Wave(-0.020, 0.012, (-0.05, 0.25, -0.20)),
            Wave(0.008, 0.020, (0.8, 0.6, 0.30)),
            Wave(0.066, 0.022, (0.55, -0.25, -0.50)),
        ]
    septum = Wave(-0.026, 0.008, (-0.16, 0.0, -0.22))
    main = Wave(0.0, 0.011, (1.05, 0.85, 0.45))
    base = Wave(0.028, 0.011, (-0.25, -0.10, 0.45))
    return _changed(labels, septum, main, base)


def _changed(labels: frozenset[str], septum: Wave, main: Wave, base: Wave) -> list[Wave]:
    """What the labels that leave the bundles whole, or block the right one, add or take."""
    if "NSIVCB" in labels:
        main = Wave(0.004, 0.021, (0.85, 0.70, 0.36))
        base = Wave(0.050, 0.019, (-0.22, -0.12, 0.42))
    if "PRWP" in labels:
        # the front of the heart is silent: no r grows from V1 to V4
        septum = Wave(-0.026, 0.008, (-0.10, 0.02, 0.05))
        main = Wave(main.at_s, main.width_s, (0.80, 0.85, 1.05))
    waves = [septum, main, base]
    if "QAb" in labels:
        waves[0] = Wave(-0.034, 0.014, (-0.22, -0.60, -0.12))
    if "LAnFB" in labels:
        # first down and to the right, then late up and to the left
        waves[0] = Wave(-0.024, 0.009, (0.35, 0.25, -0.15))
    if "RBBB" in labels:
        waves.append(Wave(0.070, 0.020, (-0.60, 0.10, -0.75)))
    if "IRBBB" in labels:
        waves.append(Wave(0.046, 0.010, (-0.42, 0.05, -0.62)))
    return waves


def _repolarisation(heart: Heart, interval_s: float) -> list[Wave]:
    """T by Bazett's rule, against a broad QRS, and by its own labels."""
    labels = heart.labels
    qt = heart.qtc_s * np.sqrt(np.clip(interval_s, 0.35, 1.6))
    width = 0.042
    late = 0.035 if labels & {"LBBB", "RBBB", "PR", "BBB"} else 0.0
    at = float(qt) - _ONSET_S - 2 * width + late
    vector = np.array([0.30, 0.25, -0.22])
    if labels & {"LBBB", "PR"}:
        vector = np.array([-0.30, 0.10 if "PR" in labels else -0.10, -0.32])
    if "TAb" in labels:
        # flat, with an end of the other sign
        return [Wave(at - 0.03, width, _vector(0.22 * vector)),
                Wave(at + 0.05, 0.8 * width, _vector(-0.35 * vector))]  # fmt: skip
    if "TInv" in labels:
        vector = np.array([-0.30, -0.20, 0.26])
    if "LQRSV" in labels:
        vector = 0.45 * vector
    return [Wave(at, width, _vector(vector))]


def _ventricular() -> list[Wave]:
    """A beat that starts in a ventricle: broad, against the others, without P."""
    return [
        Wave(0.0, 0.026, (-0.9, 0.5, -1.0)),
        Wave(0.052, 0.026, (-0.7, 0.9, -0.6)),
        Wave(0.290, 0.055, (0.45, -0.35, 0.45)),
    ]


def _vector(values: np.ndarray) -> tuple[float, float, float]:
    left, down, back = map(float, values)
    return left, down, back


def atrial_activity(heart: Heart, time_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the atria do without a P: f-waves of fibrillation, the saw teeth of flutter.

    Shape:
        time_s: (T,); result: (3, T) mV.
    """
    result = np.zeros((3, len(time_s)))
    if "AF" in heart.labels:
        for _ in range(3):
            rate, phase = rng.uniform(5, 9), rng.uniform(0, 2 * np.pi)
            sway = 0.8 * np.sin(2 * np.pi * rng.uniform(0.2, 0.5) * time_s + phase)
            wave = np.sin(2 * np.pi * rate * time_s + phase + sway)
            result += rng.uniform(0.015, 0.04) * np.array([0.3, 0.6, -0.8])[:, None] * wave
    if "AFL" in heart.labels:
        turn = rng.uniform(4.6, 5.4) * time_s + rng.uniform()
        result += (
            rng.uniform(0.08, 0.14) * np.array([0.1, -1.0, -0.4])[:, None] * (2 * (turn % 1.0) - 1)
        )
    return result
