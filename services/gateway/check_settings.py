"""Check of the files, URLs and keys that the gateway's settings refer to."""

import os

from services.gateway.settings import Settings, providers, vault
from services.gateway.upstream import egress
from shared import nats_client
from shared.providers import canonical


def check(settings: Settings) -> None:
    """Raise ValueError or OSError for a file, URL or key that cannot work."""
    vault(settings)
    egress.context(settings.ca_file)
    nats_client.check(settings.nats_url, ca_file=settings.nats_ca_file)
    known = providers(settings)
    unknown = sorted({canonical(name) for name in settings.websockets} - known.keys())
    if unknown:
        raise ValueError(f"METRION_WEBSOCKETS: unknown provider {unknown[0]!r}; known are {', '.join(known)}")
    for provider in known.values():
        egress.proxy_for(provider.upstream, setting=settings.outbound_proxy, environ=os.environ)
