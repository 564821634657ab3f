"""What is known of a bundle's golden rows, whatever kind of answer its model gives."""

import numpy as np
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer


def told(bundle: Bundle) -> list[float]:
    """The one score of each row that is told and logged: of several classes, the probability of the answer."""
    scores: list[float] = Scorer(bundle).told(np.array(bundle.golden.scores)).tolist()
    return scores
