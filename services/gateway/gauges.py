"""Gauges of the gateway's parts, read only on a scrape."""

import asyncio
from collections.abc import Callable

from services.gateway.accounts_mirror import Mirror
from services.gateway.cache.client import CacheClient
from services.gateway.limits.budgets import Budgets
from services.gateway.limits.limiter import Limiter
from services.gateway.metrics import Metrics
from services.gateway.outbox.outbox import Outbox
from services.gateway.outbox.shipper import Shipper
from services.gateway.request.body_budget import BodyBudget
from services.gateway.request.provider_keys import Keys
from services.gateway.telemetry_endpoint import TelemetryEndpoint
from services.gateway.usage.prompt_store import PromptStore
from services.gateway.websocket.connections import Connections
from shared.limits.spend import BILLION


def outbox(metrics: Metrics, outbox: Outbox, shipper: Shipper, *, max_bytes: int) -> None:
    """Outbox and shipper: events written, events waiting for NATS, and the room left."""
    metrics.counters |= {
        "metrion_gateway_events": ("Events appended to the outbox", lambda: outbox.appended),
        "metrion_gateway_events_dropped": (
            "Events dropped because the outbox, or an account's share of it, was full",
            lambda: outbox.dropped,
        ),
        "metrion_gateway_messages": ("Messages published to JetStream", lambda: shipper.messages),
        "metrion_gateway_message_retries": ("Messages published again after a failure", lambda: shipper.retries),
        "metrion_gateway_messages_refused": (
            "Publishes that JetStream refused; they are retried",
            lambda: shipper.refused,
        ),
        "metrion_gateway_messages_duplicate": (
            "Messages that JetStream dropped as duplicates",
            lambda: shipper.duplicates,
        ),
    }
    metrics.gauges |= {
        "metrion_gateway_outbox_bytes": ("Bytes of events not yet stored by NATS", lambda: outbox.pending_bytes),
        "metrion_gateway_outbox_age_seconds": (
            "Age of the oldest event that NATS has not stored",
            shipper.oldest_pending_seconds,
        ),
        "metrion_gateway_outbox_disk_bytes": (
            "Bytes of the outbox on disk, including acknowledged events",
            lambda: outbox.disk_bytes,
        ),
        "metrion_gateway_outbox_max_bytes": (
            "Maximum size of the outbox on disk, METRION_SPOOL_MAX_BYTES",
            lambda: max_bytes,
        ),
        "metrion_gateway_outbox_full": (
            "1 while events may be dropped: the outbox is full, or an account has used up its share",
            lambda: outbox.full or outbox.is_full_for_some,
        ),
        "metrion_gateway_outbox_torn_bytes": (
            "Bytes of incomplete events found at start, cut off by a crash",
            lambda: outbox.torn_bytes,
        ),
        "metrion_gateway_messages_in_flight": (
            "Messages published and not yet acknowledged",
            lambda: shipper.in_flight,
        ),
    }


def cache(metrics: Metrics, own: CacheClient) -> None:
    """Cache client: stores, calls in flight and the circuit breaker."""
    metrics.cache_outcomes = own.outcomes
    metrics.counters |= {
        "metrion_gateway_cache_stores": ("Responses stored in the cache", lambda: own.stored),
        "metrion_gateway_cache_stores_failed": ("Responses that the cache did not store", lambda: own.refused),
    }
    metrics.gauges |= {
        "metrion_gateway_cache_breaker_open": (
            "1 while the circuit breaker is open and the cache is bypassed",
            lambda: own.breaker.open,
        ),
        "metrion_gateway_cache_flights": (
            "Provider calls in flight that identical requests may wait for",
            lambda: own.flights,
        ),
    }


def accounts(metrics: Metrics, mirror: Mirror) -> None:
    """Age and revision of the accounts in memory."""
    metrics.gauges |= {
        "metrion_gateway_accounts_age_seconds": (
            "Time since NATS last confirmed the accounts in memory; until it has, age of the snapshot",
            mirror.age_seconds,
        ),
        "metrion_gateway_accounts_revision": ("Revision of the last change to the accounts", lambda: mirror.revision),
    }


def limits(metrics: Metrics, limiter: Limiter) -> None:
    """Rate limits: refusals, leases of permits, and what was allowed without NATS."""
    metrics.counters |= {
        "metrion_gateway_limit_refusals": ("Requests refused by a rate limit", lambda: limiter.refused),
        "metrion_gateway_limit_leases": ("Leases of permits requested from NATS", lambda: limiter.leases),
        "metrion_gateway_limit_alone": (
            "Requests allowed from this gateway's own share of a limit while NATS did not respond",
            lambda: limiter.allowed_alone,
        ),
    }
    metrics.gauges["metrion_gateway_limit_gateways"] = (
        "Gateways that share the limits, as this one sees them",
        limiter.gateways,
    )


def budgets(metrics: Metrics, own: Budgets) -> None:
    """Budgets: refusals, and by how much they may be crossed."""
    metrics.counters |= {
        "metrion_gateway_budget_refusals": ("Requests refused by a budget", lambda: own.refused),
        "metrion_gateway_budget_quotes_failed": (
            "Queries for a request's expected cost that no logger answered",
            lambda: own.quotes_failed,
        ),
    }
    metrics.gauges |= {
        "metrion_gateway_budget_held_usd": (
            "Expected cost of the requests in progress, or not yet in the figures, that budgets cover",
            lambda: own.holds.cost / BILLION,
        ),
        "metrion_gateway_budget_pending_requests": (
            "Finished requests that the figures of budgets do not include yet",
            lambda: own.holds.waiting,
        ),
    }


def connections(metrics: Metrics, count: Callable[[], int]) -> None:
    """Open client connections."""
    metrics.gauges["metrion_gateway_connections"] = (
        "Open client connections, at most METRION_MAX_CONNECTIONS",
        count,
    )


def bodies(metrics: Metrics, budget: BodyBudget, prompts: PromptStore) -> None:
    """Memory taken by request bodies and kept prompts."""
    metrics.gauges |= {
        "metrion_gateway_body_bytes": (
            "Bytes reserved for request bodies not yet sent, at most METRION_BODY_BUDGET_BYTES",
            lambda: budget.reserved_bytes,
        ),
        "metrion_gateway_prompt_bytes": (
            "Bytes of prompts held in memory for token estimates, some of them compressed",
            lambda: prompts.kept,
        ),
    }
    metrics.counters["metrion_gateway_bodies_refused"] = (
        "Requests refused because the memory for request bodies was used up",
        lambda: budget.refused,
    )


def websockets(metrics: Metrics, own: Connections) -> None:
    """WebSocket connections, and the responses in progress on them."""
    metrics.gauges |= {
        "metrion_gateway_websockets": ("WebSocket connections that are open", lambda: len(own)),
        "metrion_gateway_websocket_responses": (
            "Responses in progress on WebSocket connections",
            lambda: own.responses,
        ),
    }
    metrics.counters |= {
        "metrion_gateway_websockets_accepted": ("WebSocket connections that were relayed", lambda: own.accepted),
        "metrion_gateway_websockets_closed": (
            "WebSocket connections that the gateway closed: limits, timeouts, revoked tokens, invalid frames, restarts",
            own.closed.total,
        ),
    }


def end(metrics: Metrics, stop: asyncio.Event) -> None:
    """Whether the gateway is shutting down."""
    metrics.gauges["metrion_gateway_stopping"] = ("1 while shutting down", stop.is_set)


def keys(metrics: Metrics, own: Keys) -> None:
    """Secret keys in use, so that an operator sees when every gateway has a new one."""
    metrics.gauges["metrion_gateway_provider_keys_unreadable"] = (
        "Stored provider keys that no secret key decrypts",
        own.unreadable,
    )
    metrics.secret_keys = lambda: own.vault.ids


def telemetry(metrics: Metrics, endpoint: TelemetryEndpoint) -> None:
    """Usage from clients' own telemetry."""
    metrics.counters |= {
        "metrion_gateway_imported_requests": (
            "Requests imported from clients' telemetry; an export that is repeated counts again, but adds no rows",
            lambda: endpoint.imported,
        ),
        "metrion_gateway_import_rejected": (
            "Usage events in clients' telemetry that could not be imported",
            lambda: endpoint.rejected,
        ),
    }
