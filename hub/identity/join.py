"""The join file: root, broker, hub and a one-time token for one device, together.

Called by ``hub devices join-file``. What the file says of the broker is what the
hub's own configuration says, as seen from the device.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from edge_agent.base.loopback import is_loopback
from edge_agent.wire.enrol import JoinFile
from hub.config import Home, HubConfig
from hub.errors import NotFoundError, RefusedError
from hub.identity.service import IdentityService, require_device_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How a device reaches the broker; empty and 0: as the hub itself does."""

    host: str = ""
    port: int = 0


def make_join_file(
    identity: IdentityService,
    home: Home,
    device: str,
    valid_for_s: float,
    reach: Reach,
) -> JoinFile:
    """Make a join file; where the broker asks for certificates, with a new token.

    Raises:
        NotFoundError: The hub has no root yet (``HUB-ENROL-013``).
        RefusedError: The device would have to enrol over an address that only the hub
            itself can reach, or in plaintext (``HUB-ENROL-014``), or its id cannot be
            used (``HUB-ENROL-001``), whether the broker asks for a token or not.
    """
    require_device_id(device)
    config = home.read_config()
    broker = config.broker
    host = reach.host or _broker_host(config)
    try:
        root = home.root_file.read_text("utf-8")
    except OSError as error:
        raise NotFoundError(
            "HUB-ENROL-013", f"there is no root to trust: {error}"
        ) from error
    with_tls = broker.tls.enabled
    hub = _hub_url(config, host) if with_tls else ""
    return JoinFile(
        device=device,
        root=root,
        broker_host=host,
        broker_port=reach.port or broker.port,
        broker_tls=with_tls,
        allow_plaintext=broker.allow_plaintext and not with_tls,
        hub=hub,
        token=identity.issue_token(device, valid_for_s).token if with_tls else "",
        ca=identity.authority().pem.decode() if with_tls else "",
    )


def _broker_host(config: HubConfig) -> str:
    """Return the broker's name: the hub's public one where it is beside the hub."""
    host = config.broker.host
    public = urlsplit(config.api.public_url).hostname
    return public if public and is_loopback(host) else host


def _hub_url(config: HubConfig, broker_host: str) -> str:
    api = config.api
    scheme = "https" if api.tls else "http"
    url = (api.public_url or f"{scheme}://{api.host}:{api.port}").rstrip("/")
    parts = urlsplit(url)
    local = is_loopback(parts.hostname or "")
    if local and not is_loopback(broker_host):
        raise RefusedError(
            "HUB-ENROL-014",
            f"devices would enrol at {url}, which only this machine can reach",
            cure="set api.host, api.tls = true and api.public_url in hub.toml",
        )
    if parts.scheme != "https" and not local:
        raise RefusedError(
            "HUB-ENROL-014",
            f"devices would send their token to {url} in plaintext",
            cure="set api.tls = true, and a public_url with https, in hub.toml",
        )
    return url
