"""Entry point of `metrion`: handles Ctrl-C before it imports anything else."""

import sys

from services.cli import interrupts

if __name__ == "__main__":
    interrupts.end_at_once()
    from services.cli.main import main  # importing click takes a moment

    sys.exit(main())
