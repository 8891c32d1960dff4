"""The RoPE change: extending configs and models, verifying, converting."""
