"""A table of names: short name to "module:Class", imported on first use, open to plug-ins."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from medssm.core.errors import UsageError, nearest
from medssm.core.signature import check_arguments


@dataclass(frozen=True)
class Table(Mapping[str, str]):
    """An allow-list of what a name in a configuration may build.

    Args:
        kind: What the names stand for, as a user would say it ("network").
        rows: Short name to "module:attribute".
        entry_point_group: Where installed plug-ins add rows, e.g. "medssm.networks".
    """

    kind: str
    rows: Mapping[str, str]
    entry_point_group: str | None = None
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def _all(self) -> dict[str, str]:
        plugged = entry_points(group=self.entry_point_group) if self.entry_point_group else ()
        return {point.name: point.value for point in plugged} | dict(self.rows)

    def __getitem__(self, name: str) -> str:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def load(self, name: str) -> Any:
        """Import what a name stands for.

        Raises:
            UsageError: No such name; the message offers the nearest.
        """
        if name not in self._all:
            raise UsageError(f"there is no {self.kind} {name!r}; {nearest(name, self._all)}")
        if name not in self._loaded:
            module, _, attribute = self._all[name].partition(":")
            self._loaded[name] = getattr(import_module(module), attribute)
        return self._loaded[name]

    def build(self, name: str, **arguments: Any) -> Any:
        """Make the object of a name, its arguments held against the signature first.

        Raises:
            UsageError: Unknown name, unknown or missing argument, wrong type or value.
        """
        maker = self.load(name)
        check_arguments(maker, arguments, f"{self.kind} {name!r}")
        return maker(**arguments)
