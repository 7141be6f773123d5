"""Key maps as tables: ordered rules from official patterns to ours, complete or loud."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from torch import Tensor

from medssm.core.errors import BadDataError

COUNTER_LEFTOVERS = ("total_ops", "total_params")


@dataclass(frozen=True)
class Rule:
    """One line of a key map.

    A pattern may hold ``{head}`` or ``{tail}`` for the rest of a key and ``{i}`` for a number;
    ``{i-1}`` on one side says that its numbers are one lower than those of ``{i}`` on the other.

    Args:
        official: Pattern of official keys.
        ours: The same places in our key.
        ones: The official shape is ours and then as many axes of length one as the network has
            spatial axes, plus this number; None where the shapes are equal.
        joined: How many of our first axes the official tensor holds as one.
        row: Where the official shape has one more axis of length one: a line as an image.
    """

    official: str
    ours: str
    ones: int | None = None
    joined: int = 1
    row: int | None = None

    def forward(self, key: str) -> str | None:
        """Our key for an official one, or None."""
        return _translate(key, self.official, self.ours)

    def back(self, key: str) -> str | None:
        """The official key for one of ours, or None."""
        return _translate(key, self.ours, self.official)

    def official_shape(self, ours: Sequence[int], spatial_dims: int) -> tuple[int, ...]:
        """The official shape of a tensor of ours."""
        first = (math.prod(ours[: self.joined]), *ours[self.joined :]) if ours else ()
        shape = (*first, *(() if self.ones is None else (1,) * (spatial_dims + self.ones)))
        return shape if self.row is None else (*shape[: self.row], 1, *shape[self.row :])


FREE = {"head": ".*", "tail": ".+"}
PLACE = re.compile(r"\{(?P<name>\w+?)(?P<offset>[+-]\d+)?\}")


@cache
def _compiled(pattern: str) -> tuple[re.Pattern[str], dict[str, int]]:
    """The regular expression of a pattern and the offset of each of its numbers."""
    text, offsets, end = "", {}, 0
    for place in PLACE.finditer(pattern):
        name = place["name"]
        text += re.escape(pattern[end : place.start()])
        text += f"(?P<{name}>{FREE.get(name, '[0-9]+')})"
        offsets[name] = int(place["offset"] or 0)
        end = place.end()
    return re.compile(text + re.escape(pattern[end:])), offsets


def _translate(key: str, source: str, target: str) -> str | None:
    pattern, offsets = _compiled(source)
    match = pattern.fullmatch(key)
    if match is None:
        return None

    def fill(place: re.Match[str]) -> str:
        name, value = place["name"], match[place["name"]]
        if name in FREE:
            return value
        return str(int(value) - offsets[name] + int(place["offset"] or 0))

    return PLACE.sub(fill, target)


@dataclass
class LoadReport:
    """What happened to every key.

    Args:
        fitted: Official key to our key.
        ignored: Official key to the reason.
        missing: Our keys that nothing filled.
        left_over: Official keys that no rule knows, or that our network does not have.
        misshapen: Official key to both shapes in words.
        copied: Official key to a second key of ours that it filled too.
        fresh: Our key to the reason why nothing fills it and that is right.
    """

    fitted: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    misshapen: dict[str, str] = field(default_factory=dict)
    copied: dict[str, str] = field(default_factory=dict)
    fresh: dict[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """The report in a few lines, the first names of each list written out."""
        good = (
            ("copied a second time", list(self.copied)),
            ("ignored", _with_reasons(self.ignored)),
            ("starting fresh", _with_reasons(self.fresh)),
        )
        told = [_listed(each) for each in good if each[1]]
        return "; ".join([f"{len(self.fitted)} keys fitted", *told, *self.problems()])

    def problems(self) -> list[str]:
        """What keeps the weights from being the network's, in words."""
        misshapen = [f"{key} ({why})" for key, why in self.misshapen.items()]
        bad = (
            ("missing", self.missing),
            ("left over", self.left_over),
            ("of another shape", misshapen),
        )
        return [_listed(each) for each in bad if each[1]]

    def raise_unless_complete(self) -> None:
        """Refuse a partial load.

        Raises:
            BadDataError: A key is missing, left over or of another shape.
        """
        if self.problems():
            raise BadDataError(
                f"the weights do not fit the network: {len(self.fitted)} keys fitted; "
                f"{'; '.join(self.problems())}"
            )


def _listed(entry: tuple[str, list[str]]) -> str:
    title, keys = entry
    return f"{len(keys)} {title}: {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}"


def _with_reasons(reasons: Mapping[str, str]) -> list[str]:
    """The first key of every reason with the reason, then the other keys."""
    seen: dict[str, str] = {}
    for key, why in reasons.items():
        seen.setdefault(why, key)
    first = [f"{key} ({why})" for why, key in seen.items()]
    return first + [key for key in reasons if key not in seen.values()]


@dataclass(frozen=True)
class KeyMap:
    """All that is known of a network's official weights.

    Args:
        layouts: One ordered list of rules for each layout of keys found in the wild.
        infer: From an official state dict to the arguments of our network.
        aliases: Second official name of a shared tensor to the name that counts.
        beside: Beginnings of official keys that are no weights of this network, and why.
        hints: From an official state dict and what the user says of it, in our words or in those
            of the authors' constructor, to our arguments; it refuses where something is not said
            that leaves no trace in the weights.
        spare: Patterns of official keys that a network of ours need not have, and why.
    """

    layouts: tuple[tuple[Rule, ...], ...]
    infer: Callable[[Mapping[str, Tensor]], dict[str, Any]]
    aliases: tuple[Rule, ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)
    hints: Callable[[Mapping[str, Tensor], Mapping[str, Any]], dict[str, Any]] | None = None
    spare: Mapping[str, str] = field(default_factory=dict)

    def name_of(self, key: str) -> str | None:
        """Our name for an official key, whether or not a network has it."""
        found = [_first(rules, key, Rule.forward) for rules in self.layouts]
        return next((each[0] for each in found if each is not None), None)

    def to_ours(
        self, official: Mapping[str, Tensor], ours: Mapping[str, Tensor], spatial_dims: int
    ) -> tuple[dict[str, Tensor], LoadReport]:
        """Official tensors under our names and in our shapes, and the report on all keys.

        Args:
            official: Unwrapped official state dict.
            ours: State dict of our network, for names and shapes.
            spatial_dims: Rank of our network.
        """
        official, left_out = self._without_aliases(official)
        for key in list(official):
            why = next((why for start, why in self.beside.items() if key.startswith(start)), None)
            if why is not None:
                left_out[key] = why
                del official[key]
        tries = [_translate_all(official, ours, rules, spatial_dims) for rules in self.layouts]
        fitted, report = min(
            tries, key=lambda each: (len(each[1].left_over), len(each[1].misshapen))
        )
        report.ignored |= left_out
        for key in list(report.left_over):
            why = self._why_spare(key)
            if why is not None:
                report.left_over.remove(key)
                report.ignored[key] = why
        return fitted, report

    def _why_spare(self, key: str) -> str | None:
        patterns = self.spare.items()
        return next((why for text, why in patterns if _compiled(text)[0].fullmatch(key)), None)

    def _without_aliases(
        self, official: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The tensors under the names that count, and why the other names are left out."""
        state, reasons = dict(official), {}
        for key, tensor in official.items():
            found = _first(self.aliases, key, Rule.forward)
            if found is None:
                continue
            name, _ = found
            if name not in official:
                state[name] = state.pop(key)
                continue
            del state[key]
            same = tensor.shape == official[name].shape and bool((tensor == official[name]).all())
            differs = f"a second name of {name}, whose values count: these differ"
            reasons[key] = "a second name of a shared tensor" if same else differs
        return state, reasons

    def to_official(self, ours: Mapping[str, Tensor], spatial_dims: int) -> dict[str, Tensor]:
        """Our state dict under the official names and in the official shapes.

        Raises:
            BadDataError: A weight has no official name, e.g. one of an option that is ours.
        """
        unnamed: list[str] = []
        for rules in self.layouts:
            named = {name: _first(rules, name, Rule.back) for name in ours}
            unnamed = [name for name, found in named.items() if found is None]
            if not unnamed:
                official = {
                    found[0]: ours[name].reshape(
                        found[1].official_shape(ours[name].shape, spatial_dims)
                    )
                    for name, found in named.items()
                    if found is not None
                }
                return self._with_aliases(official)
        raise BadDataError(f"no official layout has a name for {', '.join(unnamed[:5])}")

    def _with_aliases(self, official: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every shared tensor under all its names."""
        second = {rule.back(key): each for rule in self.aliases for key, each in official.items()}
        return {**official, **{key: each for key, each in second.items() if key is not None}}


def _translate_all(
    official: Mapping[str, Tensor],
    ours: Mapping[str, Tensor],
    rules: Sequence[Rule],
    spatial_dims: int,
) -> tuple[dict[str, Tensor], LoadReport]:
    report, fitted = LoadReport(), {}
    for key, tensor in official.items():
        if key.endswith(COUNTER_LEFTOVERS):
            report.ignored[key] = "left by a counter of operations, no weight"
            continue
        found = _first(rules, key, Rule.forward)
        if found is None or found[0] not in ours:
            report.left_over.append(key)
            continue
        name, rule = found
        shape = tuple(ours[name].shape)
        expected = rule.official_shape(shape, spatial_dims)
        if tuple(tensor.shape) != expected:
            report.misshapen[key] = f"{tuple(tensor.shape)}, expected {expected}"
            continue
        fitted[name] = tensor.reshape(shape)
        report.fitted[key] = name
    report.missing = [name for name in ours if name not in fitted]
    return fitted, report


def _first(
    rules: Sequence[Rule], key: str, side: Callable[[Rule, str], str | None]
) -> tuple[str, Rule] | None:
    """The first rule that knows a key, with the other side's name."""
    for rule in rules:
        name = side(rule, key)
        if name is not None:
            return name, rule
    return None
