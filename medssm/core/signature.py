"""One validator: a mapping held against the signature of a class, function or dataclass."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, cast

from medssm.core.errors import UsageError, nearest


def parameters_of(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Parameters by name, without ``self`` and without catch-alls."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: parameter
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.kind not in kinds
    }


def hints_of(target: Callable[..., Any]) -> dict[str, Any]:
    """Type hints of the parameters of a class, dataclass or function."""
    if is_dataclass(target):
        return typing.get_type_hints(target)
    return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)


def check_arguments(target: Callable[..., Any], arguments: Mapping[str, Any], owner: str) -> None:
    """Hold arguments against a signature.

    Args:
        target: Class, dataclass or function whose keyword arguments are the schema.
        arguments: What a configuration asks for.
        owner: How to call the target in a message, e.g. "network 'lightm_unet'".

    Raises:
        UsageError: Unknown, missing or ill-typed argument, or a value outside a ``Literal``.
    """
    parameters = parameters_of(target)
    for name in arguments:
        if name not in parameters:
            raise UsageError(f"{owner} has no argument {name!r}; {nearest(name, parameters)}")
    missing = [
        name
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and name not in arguments
    ]
    if missing:
        raise UsageError(f"{owner} needs {', '.join(missing)}.")
    hints = hints_of(target)
    for name, value in arguments.items():
        if name in hints and not fits(value, hints[name]):
            raise UsageError(
                f"{owner}: {name}={value!r} does not fit; expected {describe(hints[name])}."
            )


def fits(value: Any, hint: Any) -> bool:
    """Say whether a plain value fits a type hint; hints beyond plain data fit everything."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in arguments)
    if origin is not None and inspect.isclass(origin):
        return _fits_container(value, origin, arguments)
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if inspect.isclass(hint):
        return isinstance(value, hint)
    return True


def _fits_container(value: Any, origin: type, arguments: tuple[Any, ...]) -> bool:
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if issubclass(origin, (tuple, list)) or origin is Sequence:
        if isinstance(value, str) or not isinstance(value, Sequence):
            return False
        if issubclass(origin, tuple) and arguments and arguments[-1] is not Ellipsis:
            return len(value) == len(arguments) and all(map(fits, value, arguments))
        return not arguments or all(fits(each, arguments[0]) for each in value)
    return isinstance(value, origin)


def describe(hint: Any) -> str:
    """A type hint in words a user can act on."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(each) for each in arguments)
    if hint is type(None):
        return "null"
    if origin is tuple and arguments[1:] == (...,):
        return f"a list [...] of {describe(arguments[0])}"
    return str(hint) if origin is not None else getattr(hint, "__name__", str(hint))


def make(target: Callable[..., Any], arguments: Mapping[str, Any], owner: str) -> Any:
    """Validate, turn sequences into tuples and texts into paths as hints say, nest, and build.

    Raises:
        UsageError: As `check_arguments`.
    """
    parameters, hints = parameters_of(target), hints_of(target)
    built: dict[str, Any] = {}
    for name, value in arguments.items():
        hint = hints.get(name)
        if name in parameters and is_dataclass(hint) and isinstance(value, Mapping):
            built[name] = make(cast(type, hint), value, f"{owner}.{name}")
        elif isinstance(value, list) and _wants_tuple(hint):
            built[name] = tuple(value)
        elif isinstance(value, str) and _wants_path(hint):
            built[name] = Path(value)
        else:
            built[name] = value
    check_arguments(target, built, owner)
    return target(**built)


def _wants_path(hint: Any) -> bool:
    """Whether a text can only be meant as a path, as words of a command line are."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else ()
    return Path in (hint, *options) and str not in options


def _wants_tuple(hint: Any) -> bool:
    options = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else ()
    return any(typing.get_origin(each) is tuple for each in (hint, *options))
