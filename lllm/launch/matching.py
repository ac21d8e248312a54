"""Making a variant as large, or as expensive per byte, as the baseline, by turning one size knob."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from lllm.config import Match, Resolved
from lllm.errors import UserError
from lllm.launch.arm import Arm, arm_of_setup
from lllm.launch.machine import machine
from lllm.launch.measure import WARM
from lllm.launch.timing import Timing, Timings, Unmeasured, question
from lllm.model.accounting import parameters, train_flops_per_token
from lllm.model.match import closest, solve
from lllm.train.setup import Setup

__all__ = ["Pairs", "at_default", "counted", "knob_of", "timed", "turned"]

Pair = tuple[float, float]  # seconds of a step of the variant, and of one of the baseline
Pairs = Callable[[Arm, Arm], Generator[Pair, None, None]]

_TRIES = 10  # sizes that are measured in search of one
_FEW, _MANY = 9, 81  # pairs of steps of one measurement: at least, and at most
_SECONDS = 60.0  # for which one measurement goes on, once it has those few
_BEYOND = 8.0  # no size is measured that takes more than so many times the baseline's FLOPs per byte
_LEVEL = 0.95


def knob_of(match: Match, resolved: Resolved) -> str:
    """The setting to turn: the one that the match names, or the size of the variant's own ffn."""
    if match.knob is not None:
        return match.knob
    ffn = resolved.parts["ffn"].entry
    size: str | None = getattr(ffn.cls, "sized_by", None)
    if size not in ffn.cls.Config.model_fields:
        raise UserError(
            f"match.knob: {resolved.registry.place(ffn.kind)} '{ffn.name}' of variant '{resolved.variant}' declares no "
            "size; expected match.knob: the setting to turn, as in model.width"
        )
    return f"{resolved.registry.place(ffn.kind)}.{size}"


def turned(setup: Setup, knob: str, value: int) -> Setup:
    return replace(setup, resolved=setup.resolved.with_value(knob, value))


def at_default(setup: Setup, matched: Setup, knob: str) -> Setup:
    """The setup without the value of its size knob, where that is what the part takes by itself: one model is one arm,
    however its size is written. matched: the setup with it."""

    def made(one: Setup) -> tuple[dict[str, Any], float]:
        model = one.model(None, "meta")
        shapes = {name: value.shape for name, value in model.state_dict().items()}
        return shapes, train_flops_per_token(model, one.resolved.data.context)

    with suppress(UserError):  # a knob that must have a value
        usual = replace(setup, resolved=setup.resolved.with_value(knob, None))
        if made(usual) == made(matched):
            return usual
    return matched


def counted(match: Match, setup: Setup, baseline: Setup, knob: str) -> int:
    """The value of the knob at which the variant has the baseline's parameters, or its training FLOPs per byte. Raises
    UserError where there is none within the share."""

    def count(one: Setup) -> float:
        if match.by == "params":
            return parameters(one.model(None, "meta"))
        return arm_of_setup(one.resolved.variant, one).flops_per_byte

    return solve(
        lambda value: count(turned(setup, knob, value)),
        count(baseline),
        match.within,
        where=f"match.{match.by} of variant '{setup.resolved.variant}', turning {knob}",
        what="" if match.by == "params" else " training FLOPs per byte",
    ).value


def timed(
    match: Match, setup: Setup, baseline: Setup, knob: str, kept: Timings, pairs: Pairs | None
) -> tuple[Timing, str]:
    """The measurement that says at which value of the knob the variant takes the baseline's time per byte, and what is
    to be known about it. One that is kept is used again; otherwise it is made with `pairs`, which yields step times of
    two arms without end. pairs: None where nothing may be measured: then one of another machine will do.

    Raises:
        Unmeasured: there is none, and nothing may be measured.
        UserError: there is no such value, or the machine is too unsteady to tell.
    """
    asked = question(setup.resolved, baseline.resolved, knob, match.within)
    variant, on = setup.resolved.variant, machine(setup.resolved)
    base = arm_of_setup(baseline.resolved.variant, baseline)
    found = kept.find(asked, on) or (None if pairs else kept.find(asked, None))
    if found is None:
        if pairs is None:
            raise Unmeasured(
                f"match.time of variant '{variant}': not measured ({kept.committed}); expected `lllm run "
                f"{setup.resolved.experiment} {variant}` first, with --dry-run for the measurement alone"
            )
        with kept.alone():
            found = kept.find(asked, on)  # another process has measured it meanwhile
            if found is None:
                found = _Search(match.within, setup, base, knob, pairs).found()
                kept.keep(asked, found)
    now = _codes(arm_of_setup(variant, turned(setup, knob, found.value)), base)
    changed = f"timed before its parts changed; without {kept.path} it is timed again" if now != found.code else ""
    return found, changed


@dataclass(frozen=True)
class _Ratio:
    """Time per byte over the baseline's, from pairs of steps; half: of its interval, relative."""

    value: float
    half: float
    pairs: tuple[Pair, ...]


class _Search:
    """For the size whose steps take the baseline's time per byte."""

    def __init__(self, within: float, setup: Setup, base: Arm, knob: str, pairs: Pairs) -> None:
        self.within, self.setup, self.base, self.knob, self.pairs = within, setup, base, knob, pairs
        self.where = f"match.time of variant '{setup.resolved.variant}', turning {knob}"
        self.tried: dict[int, _Ratio] = {}

    def found(self) -> Timing:
        """Found, measured once more, and within the share both times; UserError where it is not, or this machine cannot
        tell."""
        value = self._nearest()
        again = self._measured(value, sure=True)
        both = _ratio([*self.tried[value].pairs, *again.pairs], self._per_byte(value))
        known = max(both.half, abs(again.value - self.tried[value].value))
        if known > self.within:
            raise UserError(
                f"{self.where}: times of this machine are known within {known:.1%} only, after {len(both.pairs)} steps "
                f"of each; expected match.time of {math.ceil(100 * known)}% or more, or an otherwise idle machine"
            )
        smallest, largest = min(self.tried), max(self.tried)
        least, most = self.tried[smallest].value, self.tried[largest].value
        if abs(both.value - 1) > self.within:
            raise UserError(
                f"{self.where}: no size takes the baseline's time per byte within {self.within:.1%}; the nearest takes "
                f"{both.value:.3g} times as long, at {value}; sizes from {smallest} to {largest} take {least:.3g} to "
                f"{most:.3g} times as long"
            )
        arm = self._arm(value)
        return Timing(
            value=value,
            ratio=both.value,
            half=both.half,
            steps=len(both.pairs),
            warm=WARM,
            seconds=statistics.median(one for one, _ in both.pairs),
            baseline_seconds=statistics.median(other for _, other in both.pairs),
            smallest=(smallest, least),
            largest=(largest, most),
            machine=machine(self.setup.resolved),
            measured=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ"),
            code=_codes(arm, self.base),
        )

    def _nearest(self) -> int:
        """The size that was nearest, of those measured, begun where FLOPs per byte are the baseline's."""

        def flops(value: int) -> float:
            return self._arm(value).flops_per_byte

        value = closest(flops, self.base.flops_per_byte).value
        most = closest(flops, _BEYOND * self.base.flops_per_byte).value
        following: int | None = value
        while following is not None and len(self.tried) < _TRIES:
            value = following
            self.tried[value] = self._measured(value)
            if abs(self.tried[value].value - 1) <= self.within / 2:
                return value
            following = _following({size: ratio.value for size, ratio in self.tried.items()}, most)
        return min(self.tried, key=lambda size: (abs(self.tried[size].value - 1), size))

    def _measured(self, value: int, sure: bool = False) -> _Ratio:
        """Measured until it is known well enough; when not `sure`, that is whether it is longer or shorter."""
        with closing(self.pairs(self._arm(value), self.base)) as steps:
            pairs, per_byte = list(islice(steps, _FEW)), self._per_byte(value)
            while True:
                ratio = _ratio(pairs, per_byte)
                aside = not sure and ratio.half < abs(ratio.value - 1) - self.within
                spent = len(pairs) >= _MANY or sum(map(sum, pairs)) > _SECONDS
                if ratio.half <= self.within / 2 or aside or spent:
                    return ratio
                pairs += islice(steps, _FEW)

    def _arm(self, value: int) -> Arm:
        return arm_of_setup(self.setup.resolved.variant, turned(self.setup, self.knob, value), f"{self.knob} = {value}")

    def _per_byte(self, value: int) -> float:
        return self.base.bytes_per_step / self._arm(value).bytes_per_step


def _ratio(pairs: Sequence[Pair], per_byte: float) -> _Ratio:
    """The median of ratios within pairs, which what slows the machine for a while does not move, and its interval by
    order statistics (the sign test's)."""
    logs = sorted(math.log(one / other * per_byte) for one, other in pairs)
    n = len(logs)
    tail, outside = 0.0, 0
    while outside < n // 2 and tail + math.comb(n, outside) / 2**n <= (1 - _LEVEL) / 2:
        tail += math.comb(n, outside) / 2**n
        outside += 1
    low, high = logs[max(0, outside - 1)], logs[n - max(1, outside)]
    middle = statistics.median(logs)
    return _Ratio(math.exp(middle), math.expm1(max(high - middle, middle - low)), tuple(pairs))


def _following(tried: dict[int, float], most: int) -> int | None:
    """The size to try next, from sizes and their ratios; None where there is none to try: the nearest size of all has
    been, or the smallest is still too slow, or the largest that may be is too fast."""
    slow = min((size for size, ratio in tried.items() if ratio > 1), default=None)
    fast = max((size for size, ratio in tried.items() if ratio <= 1 and (slow is None or size < slow)), default=None)
    if slow is not None and fast is not None:
        if slow - fast <= 1:
            return None
        if len(tried) % 3 == 2:  # now and then, for interpolation alone may creep
            return (slow + fast) // 2
        share = (1 - tried[fast]) / (tried[slow] - tried[fast])
        return min(max(fast + 1, round(fast + share * (slow - fast))), slow - 1)
    if slow is not None:
        return max(1, slow // 8, min(_beyond(tried, slow, slow // 2), slow - 1)) if slow > 1 else None
    assert fast is not None
    return min(most, 8 * fast, max(_beyond(tried, fast, 2 * fast), fast + 1)) if fast < most else None


def _beyond(tried: dict[int, float], last: int, usual: int) -> int:
    """The size at which the line through `last`, the one nearest to the baseline so far, and the one next to it takes
    the baseline's time; `usual` where there is no such line."""
    other = min((size for size in tried if size != last), key=lambda size: abs(size - last), default=None)
    if other is None:
        return usual
    slope = (tried[other] - tried[last]) / (other - last)
    return round(last + (1 - tried[last]) / slope) if slope > 0 else usual


def _codes(arm: Arm, base: Arm) -> tuple[str, str]:
    return arm.terms["code"], base.terms["code"]
