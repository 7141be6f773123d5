"""`python -m medssm.cli` is `medssm`."""

import sys

from medssm.cli.main import main

sys.exit(main())
