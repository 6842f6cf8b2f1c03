"""Offline jobs, the command line, and the machines they run on."""
