"""What `python -m data.pretrained` was is `python -m lab.segment` now."""

import sys

if __name__ == "__main__":
    sys.exit("python -m data.pretrained has a new name: type python -m "
             "lab.segment, and then the name of the picture.")
