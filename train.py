"""`python train.py model=resnet init=lsuv` is the same as `isometry train model=resnet init=lsuv`."""

import sys

from isometry.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
