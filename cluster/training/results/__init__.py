"""What a run leaves and shows: its curve, the trained checkpoint with its card, and progress in the terminal."""
