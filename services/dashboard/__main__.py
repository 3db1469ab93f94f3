"""Entry point of `python -m services.dashboard`."""

from services.dashboard.service import Settings, check, run
from shared.process import main

if __name__ == "__main__":
    main(Settings, run, service="dashboard", check=check)
