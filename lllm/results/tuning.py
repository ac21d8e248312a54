"""What a verdict must say of how its two rows were tuned: how often, how much of that was trained, on which terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lllm.results.rows import Row

__all__ = ["other_terms", "tuning"]

_TERMS = {"data": "on other data", "evaluator": "by another evaluator", "code": "with other code of its parts"}


def tuning(row: Row, baseline: Row) -> str:
    """What is to be known about how the two were tuned, '' when both were, equally, on the terms of these runs."""
    if not row.trials:
        return "untuned"
    if not baseline.trials:
        return "the baseline untuned"
    return ", ".join(filter(None, (_counts(row, baseline), _where(row, baseline))))


def other_terms(tuned_on: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """How the terms of trials differ from those of a run at the settings that they found: 'at budget steps=20 and on
    other data'; '' where they are the same, or not known. Both: budget, fingerprints of data, evaluator and code."""
    found = []
    budget = tuned_on.get("budget")
    if budget and own.get("budget") and budget != own["budget"]:
        found.append("at budget " + ", ".join(f"{unit}={amount}" for unit, amount in budget.items()))
    found += [said for name, said in _TERMS.items() if len({tuned_on.get(name), own.get(name)} - {None, ""}) > 1]
    return " and ".join(found)


def _counts(row: Row, baseline: Row) -> str:
    if row.trials != baseline.trials:
        return f"{row.trials} trials against {baseline.trials}"
    mine, theirs = row.trained or row.trials, baseline.trained or baseline.trials
    return f"{row.trials} trials each, {mine} trained against {theirs}" if mine != theirs else ""


def _where(row: Row, baseline: Row) -> str:
    mine, theirs = (other_terms(one.tuned_on, {"budget": one.budget, **one.fingerprints}) for one in (row, baseline))
    if mine == theirs:
        return mine and f"tuned {mine}"
    said = [f"tuned {mine}"] if mine else []
    return ", ".join([*said, f"the baseline {theirs}" if mine else f"the baseline tuned {theirs}"] if theirs else said)
