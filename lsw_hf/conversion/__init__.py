"""Other people's formats: legacy Skywork-13B checkpoints as ones that today's programs read."""
