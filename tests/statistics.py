"""Chi-square tests without a statistics library."""

import math
from collections.abc import Sequence


def chi_square(observed: Sequence[float], expected: Sequence[float]) -> float:
    """The chi-square statistic of counts against expected counts."""
    return sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))


def p_value(statistic: float, degrees: int) -> float:
    """P(chi-square with these degrees of freedom ≥ statistic): the regularised upper gamma function."""
    return _upper_gamma(degrees / 2, statistic / 2)


def _upper_gamma(a: float, x: float) -> float:
    if x <= 0:
        return 1.0
    scale = math.exp(-x + a * math.log(x) - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        n = a
        while abs(term) > abs(total) * 1e-15:
            n += 1
            term *= x / n
            total += term
        return 1 - total * scale
    b, c = x + 1 - a, 1e300
    d = h = 1 / b
    for i in range(1, 10_000):
        an = -i * (i - a)
        b += 2
        d = 1 / (an * d + b)
        c = b + an / c
        h *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return h * scale
