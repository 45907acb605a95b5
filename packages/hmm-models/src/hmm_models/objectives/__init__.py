"""What to train for beside the likelihood."""
