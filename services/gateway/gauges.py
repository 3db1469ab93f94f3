"""The parts of a gateway go in; each shows its state in the metrics, asked only when they are scraped."""

import asyncio
from collections.abc import Callable

from services.gateway.accounts_mirror import Mirror
from services.gateway.cache.client import CacheClient
from services.gateway.metrics import Metrics
from services.gateway.outbox.outbox import Outbox
from services.gateway.outbox.shipper import Shipper
from services.gateway.request.body_budget import BodyBudget
from services.gateway.request.provider_keys import Keys
from services.gateway.usage.prompt_store import PromptStore


def outbox(metrics: Metrics, book: Outbox, shipper: Shipper, *, max_bytes: int) -> None:
    """What was said, what waits for NATS, and how much more would fit."""
    metrics.counters |= {
        "metrion_gateway_events": ("Events appended to the outbox", lambda: book.appended),
        "metrion_gateway_events_dropped": (
            "Events dropped because the outbox, or an account's share of it, was full",
            lambda: book.dropped,
        ),
        "metrion_gateway_messages": ("Messages published to JetStream", lambda: shipper.messages),
        "metrion_gateway_message_retries": ("Messages published again", lambda: shipper.retries),
        "metrion_gateway_messages_refused": ("Messages that JetStream refused for now", lambda: shipper.refused),
        "metrion_gateway_messages_duplicate": ("Messages that JetStream had already", lambda: shipper.duplicates),
    }
    metrics.gauges |= {
        "metrion_gateway_outbox_bytes": ("Bytes of events not yet stored by NATS", lambda: book.pending_bytes),
        "metrion_gateway_outbox_age_seconds": (
            "Age of the oldest event that NATS has not stored",
            shipper.oldest_pending_seconds,
        ),
        "metrion_gateway_outbox_disk_bytes": (
            "Bytes of the outbox on the disk, acked events included",
            lambda: book.disk_bytes,
        ),
        "metrion_gateway_outbox_max_bytes": (
            "Cap of the outbox on the disk, METRION_SPOOL_MAX_BYTES",
            lambda: max_bytes,
        ),
        "metrion_gateway_outbox_full": (
            "1 while a request might not be booked, of all accounts or of one that fills its share",
            lambda: book.full or book.is_full_for_some,
        ),
        "metrion_gateway_outbox_torn_bytes": ("Bytes cut off by a crash, found at the start", lambda: book.torn_bytes),
        "metrion_gateway_messages_in_flight": ("Messages published and not yet acked", lambda: shipper.in_flight),
    }


def cache(metrics: Metrics, own: CacheClient) -> None:
    """What the cache was good for, and whether it is."""
    metrics.cache_outcomes = own.outcomes
    metrics.counters |= {
        "metrion_gateway_cache_stores": ("Answers that the cache keeps", lambda: own.stored),
        "metrion_gateway_cache_stores_failed": ("Answers that the cache did not take", lambda: own.refused),
    }
    metrics.gauges |= {
        "metrion_gateway_cache_breaker_open": ("1 while the cache counts as broken", lambda: own.breaker.open),
        "metrion_gateway_cache_flights": ("Answers being fetched while requests alike wait", lambda: own.flights),
    }


def accounts(metrics: Metrics, mirror: Mirror) -> None:
    """How true the accounts in memory are."""
    metrics.gauges |= {
        "metrion_gateway_accounts_age_seconds": (
            "Since NATS last confirmed the accounts in memory; before it did, since their snapshot was written",
            mirror.age_seconds,
        ),
        "metrion_gateway_accounts_revision": ("Number of the last change to the accounts", lambda: mirror.revision),
    }


def connections(metrics: Metrics, count: Callable[[], int]) -> None:
    """How many clients are connected."""
    metrics.gauges["metrion_gateway_connections"] = (
        "Client connections that are open, at most METRION_MAX_CONNECTIONS",
        count,
    )


def bodies(metrics: Metrics, budget: BodyBudget, prompts: PromptStore) -> None:
    """What request bodies take in memory."""
    metrics.gauges |= {
        "metrion_gateway_body_bytes": (
            "Bytes reserved for request bodies that are not sent yet, at most METRION_BODY_BUDGET_BYTES",
            lambda: budget.used,
        ),
        "metrion_gateway_prompt_bytes": ("Bytes of prompts kept for estimates, some compressed", lambda: prompts.kept),
    }
    metrics.counters["metrion_gateway_bodies_refused"] = (
        "Requests refused because too many bodies were in memory",
        lambda: budget.refused,
    )


def end(metrics: Metrics, stop: asyncio.Event) -> None:
    """Whether it is on its way out."""
    metrics.gauges["metrion_gateway_stopping"] = ("1 since it was told to stop", stop.is_set)


def keys(metrics: Metrics, own: Keys) -> None:
    """Which secret keys are in use, so that an operator sees when every gateway knows a new one."""
    metrics.gauges["metrion_gateway_provider_keys_unreadable"] = (
        "Stored provider keys that the secret keys do not open",
        own.unreadable,
    )
    metrics.secret_keys = lambda: own.vault.ids
