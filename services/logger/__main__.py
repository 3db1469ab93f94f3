"""Environment in, the logger until a signal."""

from services.logger.service import Settings, run
from shared.process import main

main(Settings, run)
