"""Colours for weights from 0 to 1, chosen by what the terminal can show.

Three ramps. Truecolor: violet to green to yellow with lightness rising evenly in OKLab (Ottosson 2020), so that order
is seen without colour vision too; it starts above black, which dark themes would swallow. 256 colours: a fixed ramp,
because rounding the first one to the cube makes lightness go back down. No colour: characters, blank below 0.05.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

Palette = Literal["truecolor", "256", "none"]
Rgb = tuple[int, int, int]

RAMP_256 = (53, 24, 30, 36, 72, 77, 113, 149, 226)
ASCII_RAMP = " .:oO@"
_ASCII_STEPS = (0.05, 0.15, 0.35, 0.6, 0.85)
_STEPS = 64
# (position, lightness, chroma, hue in degrees) in OKLCH; straight lines in between
_ANCHORS = (
    (0.00, 0.275, 0.105, 308.0),
    (0.25, 0.440, 0.115, 268.0),
    (0.50, 0.610, 0.105, 195.0),
    (0.75, 0.770, 0.165, 146.0),
    (1.00, 0.930, 0.185, 106.0),
)
# One hue per kind of attention pattern (view D), far apart for the common colour-blindnesses; brightness is the score.
KIND_HUES = {"p": 250.0, "s": 320.0, "l": 195.0, "i": 60.0, "d": 100.0, "c": 145.0, "b": None}
_KIND_256 = {
    "p": (24, 32, 75), "s": (53, 133, 176), "l": (23, 37, 80), "i": (94, 172, 215), "d": (58, 142, 185),
    "c": (22, 34, 77), "b": (238, 243, 248),
}  # fmt: skip


@lru_cache(maxsize=1)
def truecolor_ramp() -> tuple[Rgb, ...]:
    """The ramp as 64 colours, dark to light."""
    colors = []
    for i in range(_STEPS):
        at = i / (_STEPS - 1)
        k = max(j for j in range(len(_ANCHORS) - 1) if _ANCHORS[j][0] <= at)
        (x0, l0, c0, h0), (x1, l1, c1, h1) = _ANCHORS[k], _ANCHORS[k + 1]
        t = (at - x0) / (x1 - x0)
        colors.append(oklch(l0 + t * (l1 - l0), c0 + t * (c1 - c0), h0 + t * (h1 - h0)))
    return tuple(colors)


def ramp_color(value: float, palette: Palette) -> str:
    """Rich's name of the colour for `value` (0 to 1, clipped; NaN counts as 0): `#rrggbb` or `color(n)`."""
    value = min(1.0, max(0.0, value)) if value == value else 0.0
    if palette == "256":
        return f"color({RAMP_256[min(len(RAMP_256) - 1, int(value * len(RAMP_256)))]})"
    return hexed(truecolor_ramp()[round(value * (_STEPS - 1))])


def ramp_char(value: float, weight: float) -> str:
    """The character for brightness `value` where there is no colour; blank for small weights, whose dots are noise."""
    if weight < _ASCII_STEPS[0]:
        return " "
    return ASCII_RAMP[sum(value >= step for step in _ASCII_STEPS)]


def kind_color(kind: str, score: float, palette: Palette) -> str:
    """Colour of a pattern letter: hue says which kind, brightness how much of it (0 to 1)."""
    score = min(1.0, max(0.0, score))
    if palette == "256":
        return f"color({_KIND_256[kind][min(2, int(score * 3))]})"
    hue = KIND_HUES[kind]
    return hexed(oklch(0.25 + 0.47 * score, 0.0 if hue is None else 0.05 + 0.10 * score, hue or 0.0))


def ink_on(color: str) -> str:
    """Black or white, whichever reads better on `color`."""
    if color.startswith("#"):
        rgb: Rgb = (int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16))
    else:
        rgb = cube(int(color[6:-1]))
    return "#000000" if luminance(rgb) > 0.22 else "#ffffff"


def hexed(rgb: Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def cube(index: int) -> Rgb:
    """sRGB of an xterm colour index from 16 up."""
    if index >= 232:
        gray = 8 + 10 * (index - 232)
        return gray, gray, gray
    steps = (0, 95, 135, 175, 215, 255)
    index -= 16
    return steps[index // 36], steps[index // 6 % 6], steps[index % 6]


def luminance(rgb: Rgb) -> float:
    """Relative luminance (WCAG) from 0 to 1."""
    r, g, b = (_linear(v / 255) for v in rgb)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def lightness(rgb: Rgb) -> float:
    """OKLab lightness from 0 to 1: even steps look even."""
    r, g, b = (_linear(v / 255) for v in rgb)
    lms = (
        0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b,
        0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b,
        0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b,
    )
    long, medium, short = (math.copysign(abs(v) ** (1 / 3), v) for v in lms)
    return 0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short


def oklch(light: float, chroma: float, hue: float) -> Rgb:
    """OKLCH to sRGB bytes; colours outside sRGB lose chroma, not lightness."""
    while True:
        a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
        long = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
        medium = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
        short = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
        rgb = (
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        )
        if chroma <= 0 or all(-1e-4 <= v <= 1 + 1e-4 for v in rgb):
            r, g, b = (round(255 * _gamma(min(1.0, max(0.0, v)))) for v in rgb)
            return r, g, b
        chroma = max(0.0, chroma - 0.004)


def _linear(v: float) -> float:
    return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4


def _gamma(v: float) -> float:
    return 12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055
