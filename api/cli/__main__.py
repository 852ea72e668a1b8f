"""`python -m api.cli` is `focal`."""

import sys

from api.cli import main

sys.exit(main())
