"""Model cards, publishing, and checks of checkpoints."""
