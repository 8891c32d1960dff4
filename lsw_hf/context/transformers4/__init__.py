"""The same rotary numbers for readers that only know the spelling of transformers 4."""
