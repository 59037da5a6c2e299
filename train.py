"""`python train.py model=resnet init=orthogonal …` is the same as `isometry train model=resnet init=orthogonal …`."""

import sys

from isometry.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
