"""Filters of the lists: plain names in the address, kept while paging and sorting."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flask import Request
from sqlalchemy.orm import Query


@dataclass(frozen=True)
class ListFilter:
    """One filter. `apply` narrows a query by the chosen value.

    `options` gives (value, label) pairs; without it the filter is a text field. A value that is not among
    the options filters nothing.
    """

    name: str
    label: str
    apply: Callable[[Query, str], Query]
    options: Callable[[], Sequence[tuple[str, str]]] | None = None

    def value(self, request: Request) -> str:
        """What the address asks for, "" for nothing."""
        return request.args.get(self.name, "").replace("\x00", "").strip()[:200]


@dataclass(frozen=True)
class ShownFilter:
    """A filter as templates/macros/form.html draws it."""

    label: str
    name: str
    value: str
    options: list[tuple[str, str]] | None


def shown(filters: Sequence[ListFilter], request: Request) -> list[ShownFilter]:
    """The filter bar's controls with their present values."""
    bar = []
    for each in filters:
        options = None if each.options is None else [("", "any"), *each.options()]
        value = each.value(request)
        if options is not None and value not in {known for known, _ in options}:
            value = ""
        bar.append(ShownFilter(each.label, each.name, value, options))
    return bar


def narrow(query: Query, filters: Sequence[ListFilter], request: Request) -> Query:
    """The query with every filter of the address applied."""
    for each in filters:
        value = each.value(request)
        if value and (each.options is None or value in {known for known, _ in each.options()}):
            query = each.apply(query, value)
    return query


def of_enum(
    name: str, label: str, column: Any, values: type[StrEnum], words: dict | None = None
) -> ListFilter:
    """A filter over an enum column."""
    pairs = [(member.value, (words or {}).get(member, member.value.replace("_", " "))) for member in values]
    return ListFilter(name, label, lambda query, value: query.filter(column == values(value)), lambda: pairs)


def of_flag(name: str, label: str, condition: Any, yes: str = "yes", no: str = "no") -> ListFilter:
    """A filter over a yes or no."""
    return ListFilter(
        name,
        label,
        lambda query, value: query.filter(condition if value == "yes" else ~condition),
        lambda: [("yes", yes), ("no", no)],
    )
