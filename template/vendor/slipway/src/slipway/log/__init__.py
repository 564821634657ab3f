"""What was predicted and what was refused, as it is kept."""
