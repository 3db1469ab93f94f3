"""Entry point of `metrion`. An interrupt ends it at once from here on, also while the rest is imported."""

import sys

from services.cli import interrupts

if __name__ == "__main__":
    interrupts.end_at_once()
    from services.cli.main import main  # takes a tenth of a second and more

    sys.exit(main())
