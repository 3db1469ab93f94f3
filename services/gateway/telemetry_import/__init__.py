"""Usage from clients' own telemetry, of requests that did not pass the gateway."""
