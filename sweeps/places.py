"""Which nodes of a cluster trials keep away from, and how often a trial that was lost is run again. Plain data, no Ray."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

RERUNS = 3  # of a trial whose worker or node was lost: what takes it every time is the trial's own
BROKEN_TRIALS = 2  # different trials in a row that a node's device fails, before the node is avoided


@dataclass
class Places:
    """Nodes by Ray's ids, trials by their keys."""

    avoided: dict[str, str] = field(default_factory=dict)  # node → why
    suspects: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # node → trials that its device failed
    failed_on: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # trial → nodes
    reruns: Counter[str] = field(default_factory=Counter)  # trial → how often it was run again

    def again(self, key: str) -> bool:
        """Whether the trial is run once more; counted."""
        if self.reruns[key] >= RERUNS:
            return False
        self.reruns[key] += 1
        return True

    def broken(self, node: str, key: str, reason: str) -> None:
        """The device of a node failed a trial."""
        self.suspects[node].add(key)
        self.failed_on[key].add(node)
        if len(self.suspects[node]) >= BROKEN_TRIALS:
            self.avoided[node] = reason

    def worked(self, node: str) -> None:
        self.suspects.pop(node, None)

    def away_from(self, key: str, usable: set[str]) -> tuple[str, ...]:
        """The nodes that a trial keeps away from: those that nothing runs on, and those that have failed it where others are
        left."""
        own = self.failed_on.get(key, set()) | set(self.avoided)
        return tuple(sorted(own if usable - own else self.avoided))
