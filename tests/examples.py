"""With how many examples a property is tried: few by default, all in the profile `nightly`.

`pytest --hypothesis-profile=nightly` loads the profile, as `make test-all` does. Each run draws
other examples, so ten runs of the default profile try as many as one of the other.
"""

from __future__ import annotations

from typing import Final

from hypothesis import settings

NIGHTLY: Final = "nightly"
SHARE: Final = 10
LEAST: Final = 5

settings.register_profile(NIGHTLY, deadline=None)


def is_nightly() -> bool:
    """Whether the profile `nightly` is loaded."""
    return settings.get_current_profile_name() == NIGHTLY


def examples(count: int) -> settings:
    """The settings of a property that the profile `nightly` tries with `count` examples."""
    few = max(LEAST, count // SHARE)
    return settings(max_examples=count if is_nightly() else few, deadline=None)
