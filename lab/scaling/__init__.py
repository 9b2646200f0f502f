"""Training in several processes."""

import os

PARENT = os.getppid()  # asked before anything slow; see `shared.end_with`
