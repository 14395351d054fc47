"""The plan of an open search: which configurations there are, which go on, which become arms. Pure, without Optuna.

A recipe is one configuration: a value for each field of the space. How good one is has two numbers, its gain in quality over
the base (up) and its forgetting (down); recipes are sorted into fronts of which none beats another in both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from core.experiment import FOUND_ARMS, LogUniform, OpenSearch, Space
from core.fields import content_hash
from core.settings import Scalar, Trial

Recipe = Mapping[str, Scalar]
Score = tuple[float, float]  # gain in quality, forgetting
DIGITS = 3  # of a value from a range: what a person can read and type again


def seed_of(*what: object) -> int:
    """A seed that depends on nothing but these words."""
    return int(content_hash(list(what)), 16) % 2**31


def first(search: OpenSearch) -> list[Recipe]:
    """The first configurations: a scrambled Sobol sequence over the space."""
    return filling(search.space, search.startup, (), seed_of("first", sorted(search.space)))


def filling(space: Space, count: int, known: Sequence[Recipe], seed: int) -> list[Recipe]:
    """`count` recipes that are not among the known ones, evenly over the space."""
    from scipy.stats.qmc import Sobol

    draws, found = Sobol(len(space), rng=seed), list[Recipe]()
    while len(found) < count:
        for point_F in draws.random_base2(5) if not draws.num_generated else draws.random(draws.num_generated):
            recipe = {name: _level(levels, float(u)) for (name, levels), u in zip(space.items(), point_F, strict=True)}
            if recipe not in known and recipe not in found:
                found.append(recipe)
    return found[:count]


def _level(levels: LogUniform | tuple[Scalar, ...], u: float) -> Scalar:
    """The value at a place between 0 and 1."""
    if isinstance(levels, tuple):
        return levels[min(int(u * len(levels)), len(levels) - 1)]
    return rounded(levels, levels.low * (levels.high / levels.low) ** u)


def rounded(levels: LogUniform, value: float, n: int = DIGITS) -> float:
    """The value in its range, with three significant digits, or with `n`."""
    return digits(min(max(value, levels.low), levels.high), n)


def digits(value: float, n: int = DIGITS) -> float:
    return float(f"{value:.{n}g}")


def at_rung(recipe: Recipe, share: float, base: Trial) -> dict[str, Scalar]:
    """The recipe with this share of its epochs. Four digits, so that the share can be taken back out."""
    epochs = float(str(recipe.get("train.epochs", base.train.epochs)))
    return {**recipe, "train.epochs": float(f"{epochs * share:.{DIGITS + 1}g}")}


def fronts(scores: Sequence[Score]) -> list[list[int]]:
    """Non-dominated sorting: indices of the first front, then of the front of what is left, and so on."""
    left, found = list(range(len(scores))), list[list[int]]()
    while left:
        front = [i for i in left if not any(_beats(scores[j], scores[i]) for j in left)]
        found.append(front)
        left = [i for i in left if i not in front]
    return found


def _beats(one: Score, other: Score) -> bool:
    return one[0] >= other[0] and one[1] <= other[1] and one != other


def crowding(scores: Sequence[Score], front: Sequence[int]) -> dict[int, float]:
    """Crowding distance (Deb et al. 2002): how far apart the neighbours of a point of a front are, as shares of the front's
    extent summed over both axes; infinite at its ends."""
    distance = dict.fromkeys(front, 0.0)
    for axis in (0, 1):
        ordered = sorted(front, key=lambda i: (scores[i][axis], i))
        extent = scores[ordered[-1]][axis] - scores[ordered[0]][axis] or 1.0
        distance[ordered[0]] = distance[ordered[-1]] = math.inf
        for before, i, after in zip(ordered, ordered[1:], ordered[2:], strict=False):
            distance[i] += (scores[after][axis] - scores[before][axis]) / extent
    return distance


def enough(scores: Sequence[Score], least_gain: float) -> list[int]:
    """Those whose gain is at least this share of the best one; none where nothing gains."""
    best = max((gain for gain, _ in scores), default=0.0)
    return [i for i, (gain, _) in enumerate(scores) if best > 0 and gain >= least_gain * best]


def ranking(scores: Sequence[Score], least_gain: float) -> list[int]:
    """Indices, the best trade-off first: what gains enough, front by front, on a front the loneliest first; then the others by
    their gain. Ties in the order given."""
    kept = enough(scores, least_gain)
    order = []
    for front in fronts([scores[i] for i in kept]):
        lonely = crowding(scores, members := [kept[i] for i in front])
        order += sorted(members, key=lambda i: (-lonely[i], i))
    return order + sorted(set(range(len(scores))) - set(kept), key=lambda i: (-scores[i][0], i))


def arms(scores: Sequence[Score], least_gain: float) -> dict[str, int]:
    """Arm → index: the best quality, the least forgetting of what gains enough, and on the front between the two the knee,
    furthest from the straight line between them. An arm that another one is already is left out."""
    if not scores:
        return {}
    kept = enough(scores, least_gain) or ranking(scores, least_gain)[:1]
    best = min(kept, key=lambda i: (-scores[i][0], scores[i][1], i))
    least = min(kept, key=lambda i: (scores[i][1], -scores[i][0], i))
    (top, dear), (low, cheap) = scores[best], scores[least]
    between = [i for i in ranking(scores, least_gain) if low < scores[i][0] < top and cheap < scores[i][1] < dear]
    bulge = {i: (scores[i][0] - low) / (top - low) - (scores[i][1] - cheap) / (dear - cheap) for i in between}
    knee = max(between, key=lambda i: (bulge[i], -i), default=best)
    found = dict(zip(FOUND_ARMS, (best, knee, least), strict=True))
    return {label: i for label, i in found.items() if i not in list(found.values())[: list(found).index(label)]}


def as_text(recipe: Recipe) -> str:
    """A recipe as people read it: "rank=16 targets=all-linear learning_rate=0.003"."""
    shown = {name.rpartition(".")[2]: f"{value:.3g}" if isinstance(value, float) else value for name, value in recipe.items()}
    return " ".join(f"{name}={value}" for name, value in shown.items())


def middle(search: OpenSearch, base: Trial, share: float) -> dict[str, Scalar]:
    """A recipe from the middle of the space at a rung, for estimates of its cost."""
    return at_rung({name: _level(levels, 0.5) for name, levels in search.space.items()}, share, base)
