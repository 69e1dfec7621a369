"""The plots, by the moods they can end in."""

from __future__ import annotations

from collections.abc import Callable

from llmkit.data.world.plots.animal import animal
from llmkit.data.world.plots.contest import contest
from llmkit.data.world.plots.gift import gift
from llmkit.data.world.plots.lost import lost
from llmkit.data.world.plots.making import making
from llmkit.data.world.plots.market import market
from llmkit.data.world.plots.night import night
from llmkit.data.world.plots.promise import promise
from llmkit.data.world.plots.secret import secret
from llmkit.data.world.plots.skill import skill
from llmkit.data.world.plots.trade import trade
from llmkit.data.world.plots.visit import visit
from llmkit.data.world.teller import Teller

Plot = Callable[[Teller, str], None]
# Every plot can end in every mood, so that only what happens tells the mood.
PLOTS: tuple[Plot, ...] = (
    animal, contest, gift, lost, making, market, night, promise, secret, skill, trade, visit,
)  # fmt: skip
