"""Changing one place of a tuple: what models do all the time, since their states are never changed."""

from typing import TypeVar

Value = TypeVar("Value")


def put(values: tuple[Value, ...], index: int, value: Value) -> tuple[Value, ...]:
    """The same tuple with one value changed."""
    return (*values[:index], value, *values[index + 1 :])
