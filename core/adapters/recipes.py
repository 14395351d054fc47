"""RECIPES: one entry for each method that is one configuration of PEFT's on linear layers. How many parameters it trains, what
is asked of PEFT, and where it fits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.adapters import adalora
from core.errors import BadInput

Layers = Mapping[str, tuple[int, int]]  # outputs and inputs of each adapted layer, in the model's order


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`config`: the name of PEFT's configuration; `options`: its arguments; `n_trained`: parameters; both of settings and
    layers. `most`: of a field of the settings, the largest value that a layer of so many outputs and inputs takes."""

    config: str
    options: Callable[[Any, Layers], dict[str, Any]]
    n_trained: Callable[[Any, Layers], int]
    most: Mapping[str, Callable[[int, int], int]] | None = None
    check: Callable[[Any, Layers], None] = lambda adapter, layers: None  # raises BadInput where the settings do not fit
    key: str = ""  # the argument for the number that random choices are drawn by: drawn by the seed, and saved
    transposed: bool = False  # whether PEFT has it for layers that store inputs × outputs (Conv1D)
    # Numbers that the backward pass needs of a layer's changed weight: of settings, outputs, inputs, whether in bfloat16, and
    # whether the base is quantized.
    kept: Callable[[Any, int, int, bool, bool], float] = lambda adapter, rows, columns, bf16, packed: 0.0


def each(count: Callable[[Any, int, int], int]) -> Callable[[Any, Layers], int]:
    """The sum over layers of a count for settings, outputs and inputs."""
    return lambda adapter, layers: sum(count(adapter, rows, columns) for rows, columns in layers.values())


def changed(adapter: Any, rows: int, columns: int, bf16: bool, packed: bool) -> float:
    """A changed weight, or the change, is computed with."""
    return rows * columns


def low_rank(adapter: Any, rows: int, columns: int) -> int:
    return int(adapter.rank) * (rows + columns)


def alpha(adapter: Any, layers: Layers) -> dict[str, Any]:
    return {"r": adapter.rank, "alpha": adapter.alpha_over_rank * adapter.rank}


def rank(adapter: Any, layers: Layers) -> dict[str, Any]:
    return {"r": adapter.rank}


def block_size(whole: int, asked: int) -> int:
    """The divisor of `whole` that is nearest to what is asked, the lower one of two (PEFT's rule for OFT)."""
    if asked >= whole:
        return whole
    lower = next(size for size in range(asked, 0, -1) if whole % size == 0)
    higher = next(size for size in range(asked, whole + 1) if whole % size == 0)
    return lower if asked - lower <= higher - asked else higher


def _oft(adapter: Any, rows: int, columns: int) -> int:
    """A skew-symmetric matrix of each block of the inputs."""
    size = block_size(columns, adapter.block_size)
    return columns // size * (size * (size - 1) // 2)


def _circles(adapter: Any, layers: Layers) -> dict[str, int]:
    return {name: block_size(math.gcd(*size), adapter.block_size) for name, size in layers.items()}


def _c3a(adapter: Any, layers: Layers) -> int:
    sizes = _circles(adapter, layers)
    return sum(rows * columns // sizes[name] for name, (rows, columns) in layers.items())


def _groups(adapter: Any, layers: Layers) -> int:
    """Even, as outputs are paired."""
    return 2 * block_size(math.gcd(*(rows for rows, _ in layers.values())) // 2, adapter.group_size // 2)


def _check_pairs(adapter: Any, layers: Layers) -> None:
    odd = next((rows for rows, _ in layers.values() if rows % 2), None)
    if odd:
        text = f"a layer of this base has {odd} outputs, which cannot be paired; use adapter.method=oft"
        raise BadInput(f"adapter.method=road: {text}", field="adapter.method")


def _check_blocks(adapter: Any, layers: Layers) -> None:
    widths = math.gcd(*(width for size in layers.values() for width in size))
    if widths % adapter.blocks:
        text = f"must divide every width of the adapted layers: a divisor of {widths}"
        raise BadInput(f"adapter.blocks={adapter.blocks}: {text}", field="adapter.blocks")


def _piece(adapter: Any, layers: Layers) -> int:
    return block_size(math.gcd(*(width for size in layers.values() for width in size)), adapter.vector_length)


def _vblora(adapter: Any, layers: Layers) -> int:
    """The bank, and of each piece of a matrix a number for each vector."""
    length = _piece(adapter, layers)
    pieces = sum(size // length for layer in layers.values() for size in layer)
    bank: int = adapter.num_vectors * length
    return bank + int(adapter.rank) * pieces * int(adapter.num_vectors)


def _randlora(adapter: Any, rows: int, columns: int) -> int:
    least = min(rows, columns)
    n_bases = math.ceil(least / adapter.rank)
    return n_bases * (int(adapter.rank) + least)


def _factors(width: int, factor: int) -> tuple[int, int]:
    """Two factors of a width, the first one `factor` or the largest divisor below it that is at most the second (LyCORIS'
    rule)."""
    first = factor if width % factor == 0 else max(n for n in range(1, math.isqrt(width) + 1) if n <= factor and width % n == 0)
    return first, width // first


def _lokr(adapter: Any, rows: int, columns: int) -> int:
    (small_rows, large_rows), (small_columns, large_columns) = _factors(rows, adapter.factor), _factors(columns, adapter.factor)
    is_low_rank = adapter.rank < max(large_rows, large_columns) / 2
    large = int(adapter.rank) * (large_rows + large_columns) if is_low_rank else large_rows * large_columns
    return small_rows * small_columns + large


def _deft(adapter: Any, rows: int, columns: int) -> int:
    return min(int(adapter.rank), rows) * (rows + columns)


RECIPES: dict[str, Recipe] = {
    "vera": Recipe(
        config="VeraConfig", key="projection_prng_key", transposed=True,
        options=lambda a, layers: {"r": a.rank, "vera_dropout": a.dropout},
        n_trained=each(lambda a, rows, columns: a.rank + rows),
    ),
    "randlora": Recipe(
        config="RandLoraConfig", key="projection_prng_key", transposed=True,
        options=lambda a, layers: {"r": a.rank, "randlora_alpha": a.alpha_over_rank * a.rank},
        n_trained=each(_randlora), most={"rank": min},
        kept=lambda a, rows, columns, bf16, packed: min(rows, columns) ** 2 + bf16 * rows * columns,
    ),
    "vblora": Recipe(
        config="VBLoRAConfig", transposed=True, n_trained=_vblora,
        options=lambda a, layers: {
            "r": a.rank, "num_vectors": a.num_vectors, "vector_length": _piece(a, layers), "topk": a.top,
        },
    ),
    "loha": Recipe(config="LoHaConfig", options=alpha, n_trained=each(lambda *asked: 2 * low_rank(*asked)), kept=changed),
    "lokr": Recipe(
        config="LoKrConfig", options=lambda a, layers: alpha(a, layers) | {"decompose_factor": a.factor}, n_trained=each(_lokr),
        kept=changed,
    ),
    "adalora": Recipe(
        config="AdaLoraConfig", transposed=True, n_trained=each(lambda a, rows, columns: a.first_rank * (rows + columns + 1)),
        options=lambda a, layers: {
            "init_r": a.first_rank, "target_r": a.rank, "lora_alpha": a.alpha_over_rank * a.first_rank,
            "total_step": 1, "orth_reg_weight": adalora.ORTHOGONAL,  # adalora.Budget says how many steps there are
        },
    ),
    "hira": Recipe(
        config="HiraConfig", options=rank, n_trained=each(low_rank), transposed=True,
        kept=lambda a, rows, columns, bf16, packed: (1 + packed) * rows * columns,
    ),
    "gralora": Recipe(
        config="GraloraConfig", options=lambda a, layers: alpha(a, layers) | {"gralora_k": a.blocks}, n_trained=each(low_rank),
        check=_check_blocks, transposed=True,
    ),
    "delora": Recipe(
        config="DeloraConfig", options=lambda a, layers: {"r": a.rank, "delora_lambda": a.strength},
        n_trained=each(lambda *asked: low_rank(*asked) + 1),
    ),
    "deft": Recipe(config="DeftConfig", options=alpha, n_trained=each(_deft), transposed=True),
    "peanut": Recipe(
        config="PeanutConfig", options=lambda a, layers: {"r": a.rank, "scaling": a.scaling, "act_fn": "relu", "depth": 0},
        n_trained=each(lambda a, rows, columns: 2 * a.rank * rows),
        kept=lambda a, rows, columns, bf16, packed: (1 + bf16) * rows * columns,
    ),
    "miss": Recipe(
        config="MissConfig", options=rank, n_trained=each(lambda a, rows, columns: a.rank * rows),
        most={"rank": lambda rows, columns: columns},
    ),
    "shira": Recipe(
        config="ShiraConfig", options=rank, n_trained=each(low_rank), key="random_seed", kept=changed,
        most={"rank": lambda rows, columns: rows * columns // (rows + columns)},
    ),
    "c3a": Recipe(
        config="C3AConfig", n_trained=_c3a,
        options=lambda a, layers: {
            "block_size": a.block_size, "block_size_pattern": _circles(a, layers), "init_weights": True,
        },
    ),
    "fourierft": Recipe(
        config="FourierFTConfig", key="random_loc_seed", transposed=True,
        options=lambda a, layers: {"n_frequency": a.n_frequency, "scaling": a.scaling, "init_weights": True},
        n_trained=each(lambda a, rows, columns: a.n_frequency), most={"n_frequency": lambda rows, columns: rows * columns},
        kept=changed,
    ),
    "waveft": Recipe(
        config="WaveFTConfig", key="random_loc_seed", transposed=True,
        options=lambda a, layers: {"n_frequency": a.n_frequency, "scaling": a.scaling},
        n_trained=each(lambda a, rows, columns: a.n_frequency), most={"n_frequency": lambda rows, columns: rows * columns},
        kept=lambda a, rows, columns, bf16, packed: 2 * rows * columns,
    ),
    "osf": Recipe(
        config="OSFConfig", n_trained=each(lambda a, rows, columns: a.rank * (rows + columns + 1)),
        options=lambda a, layers: {"rank_pattern": {f"^{re.escape(name)}$": min(size) - a.rank for name, size in layers.items()}},
        most={"rank": lambda rows, columns: min(rows, columns) - 1},
    ),
    "oft": Recipe(config="OFTConfig", options=lambda a, layers: {"r": 0, "oft_block_size": a.block_size}, n_trained=each(_oft)),
    "hra": Recipe(
        config="HRAConfig", options=rank, n_trained=each(lambda a, rows, columns: a.rank * columns),
        kept=lambda a, rows, columns, bf16, packed: (a.rank + 1) * columns**2 + rows * columns,
    ),
    "road": Recipe(
        config="RoadConfig", options=lambda a, layers: {"variant": "road_2", "group_size": _groups(a, layers)},
        n_trained=each(lambda a, rows, columns: 2 * rows), check=_check_pairs,
    ),
}  # fmt: skip
