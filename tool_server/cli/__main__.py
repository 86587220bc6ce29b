"""Let `python -m tool_server.cli` be the `bursar` command where no console script is installed."""

import sys

from tool_server.cli.main import main

sys.exit(main())
