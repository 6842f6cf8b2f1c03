"""What an endpoint does now, in a terminal."""
