"""Letting the factory model pass, or not: the same self-test that releases go through.

Called by the supervisor before it starts the worker, on the thread that watches it.
It is done once for a bundle and a runtime, so it costs only the first start.
"""

import logging
from collections.abc import Callable

from edge_agent.errors import StoreError
from edge_agent.store.factory import FACTORY_RELEASE, FactoryModel
from edge_agent.update.selftest import spawn_self_test

FACTORY_PASSED = "factory.passed"
FACTORY_REFUSED = "factory.refused"
REFUSED = "AGENT-UPDATE-080"

log = logging.getLogger(__name__)


def try_factory(model: FactoryModel, interrupted: Callable[[], bool]) -> str:
    """Self-test the factory model unless it passed before.

    Returns:
        Why it is not served, or "".
    """
    if model.has_passed():
        return ""
    verdict = spawn_self_test(model.folder, FACTORY_RELEASE, interrupted=interrupted)
    if verdict is None:
        return ""
    if not verdict.ok:
        log.error(
            FACTORY_REFUSED, extra={"code": verdict.code, "detail": verdict.detail}
        )
        return f"{verdict.code}: {verdict.detail}"
    try:
        model.mark_passed()
    except StoreError as error:
        return f"{error.code}: {error.text}"
    log.info(FACTORY_PASSED, extra={"latency_us": verdict.latency_us})
    return ""
