"""Load over HTTP: the endpoint under clients that wait for each other and under clients that do not."""
