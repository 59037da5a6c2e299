"""Where images come from, how they are checked, split, augmented and served in whole batches."""
