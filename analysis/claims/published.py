"""Published curves beside ours: their points where the units are ours, else normalised, as their names then say. Pure.

Normalised: the first published point inside our range of x lies on our curve, and the published range there is drawn as
large as ours between the same x. Better is up in both, so a published rise stays a rise where ours falls. Only the shapes
can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import BadInput

NORMALISED = "first point on our curve, its range drawn as large as ours between the same x; only shapes compare"


@dataclass(frozen=True)
class PublishedCurve:
    """A published curve of one measure, and which of our curves it is laid over ("" where there is only one)."""

    measure: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    label: str  # paper and figure: "Wei 2021, Fig. 6"
    source: str  # what was measured, in which units, on which model
    url: str
    curve: str = ""
    normalised: bool = True
    lower_is_better: bool = False

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or len(self.x) < 2 or list(self.x) != sorted(self.x) or self.x[0] <= 0:
            raise BadInput(f"{self.label}: one y for every x, two points at least, x above 0 and rising")

    @property
    def name(self) -> str:
        """As a legend has it."""
        return f"published: {self.label}" + (" (normalised)" if self.normalised else "")

    @property
    def caption(self) -> str:
        """As a caption has it."""
        how = f", normalised: {NORMALISED}" if self.normalised else ""
        return f"Published: {self.label} ({self.source}; {self.url}){how}."

    def beside(self, x_K: Sequence[float], y_K: Sequence[float]) -> tuple[np.ndarray, np.ndarray] | None:
        """Where its points are drawn beside our curve of K points, x rising: (x, y); None where fewer than two lie between our
        smallest and largest x."""
        x, y = np.array(self.x), np.array(self.y)
        if not len(x_K) or not self.normalised:
            return (x, y) if len(x_K) else None
        inside = (x >= min(x_K)) & (x <= max(x_K))
        if inside.sum() < 2:
            return None
        x, y = x[inside], y[inside]
        ours = np.interp(np.log(x), np.log(x_K), y_K)
        rise, spread = (y[0] - y if self.lower_is_better else y - y[0]), float(np.ptp(y))
        return x, ours[0] + (rise / spread * np.ptp(ours) if spread else 0.0 * rise)
