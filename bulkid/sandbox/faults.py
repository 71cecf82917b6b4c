"""Which fault a request meets: drawn from the seed and the request itself, so that a test repeats."""

from collections import Counter
from hashlib import blake2b

from bulkid.sandbox.options import FAULT_KINDS, Faults

_SPAN = 2**64


class FaultInjector:
    """Draws faults.

    A draw depends on the seed, the request and how often that request came before, not on the order in which
    concurrent requests happen to arrive: the n-th PUT of an account meets the same fate in every run.
    """

    def __init__(self, seed: int, faults: Faults) -> None:
        self.faults = faults
        self._seed = seed
        self._seen: Counter[str] = Counter()
        self._any = faults.total > 0

    def draw(self, method: str, target: str) -> str:
        """The fault that this request meets, one of ``FAULT_KINDS``; "" for none."""
        if not self._any:
            return ""
        at = self._chance(f"{method} {target}")
        for kind in FAULT_KINDS:
            at -= getattr(self.faults, kind)
            if at < 0:
                return kind
        return ""

    def draw_token_error(self) -> bool:
        """Whether the token endpoint fails this time."""
        return self.faults.token_error > 0 and self._chance("token") < self.faults.token_error

    def _chance(self, key: str) -> float:
        """An even number in [0, 1)."""
        self._seen[key] += 1
        digest = blake2b(f"{self._seed}/{self._seen[key]}/{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / _SPAN
