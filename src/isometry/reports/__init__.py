"""Drawing, from plain data: no torch, no lightning. `plots` alone imports matplotlib, `wandb_panels` alone wandb."""
