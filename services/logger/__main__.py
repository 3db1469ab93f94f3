"""Entry point of the logger; with --provision it only creates streams and tables."""

import sys

from services.logger import provision, service
from services.logger.settings import Settings, check
from shared.process import main

main(Settings, provision.run if "--provision" in sys.argv[1:] else service.run, service="logger", check=check)
