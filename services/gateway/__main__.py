"""`python -m services.gateway`: the gateway as a process."""

from services.gateway.service import run
from services.gateway.settings import Settings, check
from shared.process import main

if __name__ == "__main__":
    main(Settings, run, service="gateway", check=check)
