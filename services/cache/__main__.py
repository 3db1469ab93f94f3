"""Entry point of the cache service."""

from services.cache.service import Settings, check, run
from shared.process import main

main(Settings, run, service="cache", check=check)
