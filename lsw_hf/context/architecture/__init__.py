"""What a model's configuration says: its rotary layout, its layers, its original window."""
