"""The covering set covers every pair that can be, and nothing that cannot."""

from __future__ import annotations

from itertools import combinations, product

from hypothesis import given
from hypothesis import strategies as st

from lllm.check.pairs import covering


def pairs(rows: list[dict[str, object]]) -> set[frozenset[object]]:
    return {frozenset(pair) for row in rows for pair in combinations(row.items(), 2)}


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(0, 999), st.integers(2, 9))
def test_all_legal_pairs_and_only_those(sizes: list[int], salt: int, share: int) -> None:
    factors = {f"f{i}": list(range(size)) for i, size in enumerate(sizes)}

    def legal(row: dict[str, object]) -> bool:
        return sum((i + 3) * int(v) for i, v in enumerate(row.values())) * (salt + 1) % share != 1  # type: ignore[call-overload]

    every = [dict(zip(factors, values, strict=True)) for values in product(*factors.values())]
    rows = covering(factors, legal)
    assert all(legal(row) for row in rows)
    assert pairs(rows) == pairs([row for row in every if legal(row)])
    assert rows == covering(factors, legal)


def test_the_set_is_small() -> None:
    factors = {name: list(range(4)) for name in "abcdefg"}
    assert len(covering(factors, lambda row: True)) <= 30  # 16 is the least, the product 16,384
