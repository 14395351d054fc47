"""The texts that bases have written, passed on through the head of a Ray cluster: a node may not see the sweep's directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ray.experimental import internal_kv

from core import shared_texts
from core.result import write_whole

NAMESPACE = b"tunelab"  # of what the cluster's head keeps for us
MOST_BYTES = 16 << 20  # of a file that goes through Ray; rows, items and texts of a trial have some 30 KB


@dataclass(frozen=True)
class Texts:
    """Of one sweep's run, under a name that is this run's alone."""

    run: str

    def take(self, name: str) -> bytes | None:
        return internal_kv._internal_kv_get(self._key(name), namespace=NAMESPACE)

    def offer(self, name: str, content: bytes) -> bytes:
        if len(content) > MOST_BYTES:
            return content
        internal_kv._internal_kv_put(self._key(name), content, overwrite=False, namespace=NAMESPACE)
        return self.take(name) or content

    @contextmanager
    def passed(self, folder: Path) -> Iterator[Callable[[], None]]:
        """Offers what earlier runs have left in the driver's `folder`; yields what writes there what workers have drawn since,
        for later runs."""
        for path in folder.glob("*.json"):
            if (texts := shared_texts.read(path)) is not None:
                self.offer(path.name, shared_texts.packed(texts))
        try:
            yield lambda: self._gather(folder)
        finally:
            with suppress(Exception):  # a cluster that is lost; else it may live on for long
                internal_kv._internal_kv_del(self._key(""), del_by_prefix=True, namespace=NAMESPACE)

    def _gather(self, folder: Path) -> None:
        for key in internal_kv._internal_kv_list(self._key(""), namespace=NAMESPACE):
            path = folder / key[len(self._key("")) :].decode()
            if shared_texts.read(path) is None and (content := self.take(path.name)):
                write_whole(path, content)

    def _key(self, name: str) -> bytes:
        return f"{self.run}/texts/{name}".encode()
