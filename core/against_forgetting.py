"""Whether the settings against forgetting go together, known before anything starts and without torch."""

from __future__ import annotations

from core import chat, replay
from core.adapters import METHODS
from core.base import BaseFiles
from core.data import files
from core.errors import BadInput, nearest
from core.lab.corpus import DOMAINS
from core.settings import REPLAYED, RESPONSE, Trial

REPLAYED_TOKENS = 114  # of a document of the laboratory's corpus, on average (measured)
MOST_CHARACTERS = 16  # of a token, on average: plenty


def check(trial: Trial) -> None:
    """Looks at replay, the penalties of core/near_base.py and what is scaled after training.

    Raises:
        BadInput: one would do nothing, or cannot be done with the trial's method.
    """
    train = trial.train
    if train.kl_on != RESPONSE and not train.kl_to_base:
        text = "there is no penalty without a train.kl_to_base, 0.1 for example; leave it out"
        raise BadInput(f"train.kl_on={train.kl_on}: {text}", field="train.kl_on")
    if train.kl_to_base and train.kl_on == REPLAYED and not trial.data.replay_share:
        text = "nothing is replayed without a data.replay_share, 0.05 for example; or use train.kl_on=prompts"
        raise BadInput(f"train.kl_on={REPLAYED}: {text}", field="train.kl_on")
    method = METHODS[trial.adapter.method]
    ways_back = {"train.l2_to_base": train.l2_to_base or None, "evaluation.scales": trial.evaluation.scales}
    for name, value in ways_back.items():
        if value is not None and not method.starts_at_base:
            text = f"{method.label} does not start as the base, so there is no way back to it; leave it out"
            raise BadInput(f"{name}={value}: {text}", field=name)


def notes(trial: Trial) -> tuple[str, ...]:
    """What may not be meant: a second stage has neither penalty."""
    penalties = {"train.kl_to_base": trial.train.kl_to_base, "train.l2_to_base": trial.train.l2_to_base}
    on = [f"{name}={value:g}" for name, value in penalties.items() if value]
    if not trial.prefer.on or not on:
        return ()
    text = f"in the first stage alone; the second one (prefer.method={trial.prefer.method}) goes on without"
    return (f"{' and '.join(on)}: {text}",)


def check_replay(trial: Trial, in_laboratory: bool) -> None:
    """Whether what is replayed comes from somewhere, and is wanted.

    Raises:
        BadInput: it does not, or is not.
    """
    data = trial.data
    for name, value in {"data.replay_text": data.replay_text, "data.replay_domain": data.replay_domain}.items():
        if value is not None and not data.replay_share:
            text = "replays nothing without a data.replay_share, 0.05 for example"
            raise BadInput(f"{name}={value}: {text}", field=name)
    if data.replay_domain is not None and data.replay_domain not in DOMAINS:
        text = f"{nearest(data.replay_domain, DOMAINS)}, or none for all"
        raise BadInput(f"data.replay_domain={data.replay_domain!r}: {text}", field="data.replay_domain")
    if data.replay_share and not in_laboratory and replay.path_of(trial) is None:
        text = "no text to replay; give --base-text FILE, or another one in data.replay_text"
        raise BadInput(f"data.replay_share={data.replay_share:g}: {text}", field="data.replay_share")


def check_replayed_text(trial: Trial, base: BaseFiles, seq_len: int) -> int:
    """About how many tokens a replayed sequence has.

    Raises:
        BadInput: nothing of the text is left to be replayed, as all of it is scored.
    """
    path = replay.path_of(trial)
    if path is None:
        return REPLAYED_TOKENS
    text, inner = files.read_text(replay.field_of(trial), path).text, chat.tokenizer(base.directory)
    n_scored = 2 * replay.most_scored(trial.evaluation, seq_len) * seq_len if trial.data.replay_text is None else 0
    if inner is not None and len(text) <= MOST_CHARACTERS * (n_scored + replay.PIECE_TOKENS):  # else there is surely enough
        n_tokens, window = len(inner.encode(text, add_special_tokens=False).ids), chat.window_of(inner, seq_len)
        scored = replay.scored_ranges(n_tokens, window, trial.evaluation, seq_len) if n_scored else []
        if next(replay.pieces(n_tokens, replay.piece_tokens(window), scored, 0), None) is None:
            raise replay.nothing_left(trial, n_tokens)
    return replay.piece_tokens(seq_len)
