"""Trainers: TRL's `SFTTrainer` with the pieces that long context needs."""
