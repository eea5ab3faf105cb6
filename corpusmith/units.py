"""Numbers, sizes and times as people write and read them."""

from __future__ import annotations

import re

from corpusmith.errors import InputError

UNKNOWN = "–"

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_COUNT_UNITS = ((1e12, " T"), (1e9, " B"), (1e6, " M"))
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)


def number(value: int | None) -> str:
    """A whole number with commas."""
    return UNKNOWN if value is None else f"{value:,}"


def short_number(value: float | None) -> str:
    """A count as a headline shows it: in full below ten million, then in millions, billions, trillions."""
    if value is None:
        return UNKNOWN
    for size, unit in _COUNT_UNITS:
        if value >= max(size, 1e7):
            return f"{value / size:.3g}{unit}" if value / size < 1000 else f"{value / size:,.0f}{unit}"
    return f"{value:,.0f}"


def share(part: float | None, whole: float | None) -> str:
    """A part in per cent of a whole; never rounded to 0 or 100 unless it is that."""
    if part is None or not whole:
        return UNKNOWN
    percent = 100.0 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1%"
    if 99.9 < percent < 100:
        return "> 99.9%"
    return f"{percent:.1f}%"


def byte_size(value: float | None) -> str:
    """Bytes in decimal units."""
    if value is None:
        return UNKNOWN
    power = 0
    while value >= 999.5 and power < len(_BYTE_UNITS) - 1:
        value, power = value / 1000.0, power + 1
    return f"{value:.0f} {_BYTE_UNITS[power]}" if power == 0 else f"{value:.3g} {_BYTE_UNITS[power]}"


def duration(seconds: float | None) -> str:
    """A time span in its two largest units."""
    if seconds is None:
        return UNKNOWN
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def rate(amount: float | None, seconds: float | None, unit: str) -> str:
    """An amount per second."""
    if amount is None or not seconds:
        return UNKNOWN
    value = amount / seconds
    return f"{value:,.0f} {unit}/s" if value >= 100 else f"{value:.3g} {unit}/s"


def decimal(value: float | None, digits: int = 4) -> str:
    """A number with a fixed number of digits behind the point."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def parse_bytes(text: str, where: str) -> int:
    """Bytes of `512MB`, `1.5GiB` or `1000000`; InputError names `where` for anything else, and for less than 1."""
    match = _BYTES.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise InputError(f"{where} must be a size like 512MB or 4GiB, got {text!r}")
    number = float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2].upper() or " ")
    if number < 1:
        raise InputError(f"{where} must be at least 1 byte, got {text!r}")
    return int(number)
