"""OpenTelemetry export of stored requests: spans and metrics.

Their names are those of the GenAI semantic conventions.
"""
