"""The training itself: the LightningModule, optimizers and schedules, checkpoints, loggers. Takes any `nn.Module`."""
