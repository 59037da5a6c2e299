"""`python -m isometry train …` is the same as `isometry train …`."""

import sys

from .cli import main

sys.exit(main(sys.argv[1:]))
