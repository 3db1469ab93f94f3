"""`python -m services.dashboard`."""

from services.dashboard.service import Settings, run
from shared.process import main

if __name__ == "__main__":
    main(Settings, run)
