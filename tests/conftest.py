"""What holds for every test."""

import resource
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes is decided by what else the machine does.
settings.register_profile("shoal", deadline=None)
settings.load_profile("shoal")

_LIMITS = tuple(
    getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")
)


@pytest.fixture(autouse=True)
def _limits_stay() -> Iterator[None]:
    """Fail a test that lowers the limits of the process: it would harm the others."""
    before = [resource.getrlimit(one) for one in _LIMITS]
    yield
    assert [resource.getrlimit(one) for one in _LIMITS] == before
