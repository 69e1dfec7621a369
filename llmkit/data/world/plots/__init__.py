"""The plots, by the moods they can end in."""

from __future__ import annotations

from collections.abc import Callable

from llmkit.data.world.plots.lost import lost
from llmkit.data.world.scenes import MOODS
from llmkit.data.world.teller import Teller

Plot = Callable[[Teller, str], None]
PLOTS: dict[str, tuple[Plot, ...]] = {mood: (lost,) for mood in MOODS}
