"""`python -m services.gateway`: the gateway as a process."""

from services.gateway.check_settings import check
from services.gateway.service import run
from services.gateway.settings import Settings
from shared.process import main

if __name__ == "__main__":
    main(Settings, run, service="gateway", check=check)
