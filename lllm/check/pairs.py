"""A covering set: few rows in which every pair of values that can stand together does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import combinations, islice, product
from typing import Any

__all__ = ["covering", "nearest"]

Row = dict[str, Any]
Pair = frozenset[tuple[str, Hashable]]

_TRIES = 800  # rows tried around a pair before it is taken to be illegal: all that differ in one factor, many in two


def covering(factors: Mapping[str, Sequence[Hashable]], legal: Callable[[Row], bool]) -> list[Row]:
    """Rows, one value per factor, all legal, that together hold every pair of values of two factors that any legal row
    holds. Greedy and deterministic: each row begins with the first pair not yet covered and is completed by the values
    that cover most; where that is not legal, by the nearest that is."""
    missing = {
        frozenset([(a, x), (b, y)]): None for a, b in combinations(factors, 2) for x in factors[a] for y in factors[b]
    }
    illegal: set[Pair] = set()
    rows: list[Row] = []
    while missing:
        pair = next(iter(missing))
        around = (row for row in nearest(_orders(factors, pair, missing)) if illegal.isdisjoint(_pairs(row)))
        row = next((row for row in islice(around, _TRIES) if legal(row)), None)
        if row is None:
            illegal.add(pair)
            del missing[pair]
            continue
        rows.append(row)
        for covered in _pairs(row):
            missing.pop(covered, None)
    return rows


def nearest(orders: Mapping[str, Sequence[Any]]) -> Iterator[Row]:
    """Every row, given each factor's values, best first: first the best of all, then those that differ from it in one
    factor, then in two, and so on."""
    best = {name: values[0] for name, values in orders.items()}
    free = [name for name, values in orders.items() if len(values) > 1]
    for count in range(len(free) + 1):
        for names in combinations(free, count):
            for values in product(*(orders[name][1:] for name in names)):
                yield {**best, **dict(zip(names, values, strict=True))}


def _orders(
    factors: Mapping[str, Sequence[Hashable]], pair: Pair, missing: Mapping[Pair, None]
) -> dict[str, list[Hashable]]:
    """For each factor its values, best first: those that cover most pairs with what is chosen, then those with most
    left to cover. The pair's own values are fixed."""
    left = Counter(item for other in missing for item in other)
    chosen = dict(pair)
    orders: dict[str, list[Hashable]] = {name: [value] for name, value in chosen.items()}
    for name, values in factors.items():
        if name not in orders:
            gains = {v: sum(frozenset([(name, v), one]) in missing for one in chosen.items()) for v in values}
            orders[name] = sorted(values, key=lambda v: (-gains[v], -left[name, v]))
            chosen[name] = orders[name][0]
    return {name: orders[name] for name in factors}


def _pairs(row: Row) -> Iterator[Pair]:
    for one, other in combinations(row.items(), 2):
        yield frozenset([one, other])
