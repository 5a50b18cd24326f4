"""Whether what is known of two records beside their texts agrees: price, brand, whatever both have.

Attributes of the same name are compared, whatever the case of the name. Two numbers agree within a
tenth of each other, and contradict where one is twice the other or more: what an article costs
differs between shops. Two codes (`8412345678901`) are the same or are not. Other texts agree from a
token-set ratio (RapidFuzz's) of 85 on and contradict each other below 50. What lies between says
nothing, nor does what only one of the two has, nor a number that is not above zero, nor a number
or a code beside words (`call for price`).
"""

import re
from collections.abc import Mapping
from math import log
from typing import Any, NamedTuple, TypeAlias

from aparella.workers.features.quantities import values

Attributes: TypeAlias = Mapping[str, Any]
"""By name."""

_NUMBER = re.compile(r"[^\w.,+-]*([+-]?\d{1,7}(?:[.,]\d+)*)\s*[^\w.,+-]*(?:[A-Za-z]{3})?")
"""A number with or without a currency's sign behind or before it, or its three letters behind."""
_CODE = re.compile(r"\d{8,}")
_NEAR, _FAR = log(1.1), log(2.0)
_ALIKE, _UNLIKE = 85.0, 50.0


class AttributeComparison(NamedTuple):
    """How many attributes of two records agree, and how many contradict each other."""

    agreeing: int
    contradicting: int


def comparison(first: Attributes, second: Attributes) -> AttributeComparison:
    """Compare the attributes that both records have. Symmetric."""
    if not first or not second:
        return AttributeComparison(0, 0)
    others = {name.casefold(): value for name, value in second.items()}
    verdicts = [
        _verdict(str(value).strip(), str(others[name.casefold()]).strip())
        for name, value in first.items()
        if name.casefold() in others
    ]
    return AttributeComparison(verdicts.count(1), verdicts.count(-1))


def _verdict(one: str, other: str) -> int:
    """1 for two values that agree, -1 for two that contradict each other, else 0."""
    if not one or not other:
        return 0
    codes = [bool(_CODE.fullmatch(value)) for value in (one, other)]
    if all(codes):
        return 1 if one == other else -1
    left, right = _numbers(one), _numbers(other)
    if left and right:
        positive = [abs(log(a / b)) for a in left for b in right if a > 0 and b > 0]
        gap = min(positive, default=_NEAR)
        return int(gap < _NEAR) - int(gap >= _FAR)
    from rapidfuzz import fuzz

    one, other = sorted((one.casefold(), other.casefold()))
    ratio = 100.0 if one == other else fuzz.token_set_ratio(one, other)
    words = not (any(codes) or left or right)
    return int(ratio >= _ALIKE) - int(ratio < _UNLIKE and words)


def _numbers(value: str) -> tuple[float, ...]:
    """What a value may mean as a number: `1.500` is 1.5 or 1500."""
    found = _NUMBER.fullmatch(value)
    return tuple(values(found[1].lstrip("+-"))) if found and not found[1].startswith("-") else ()
