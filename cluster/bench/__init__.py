"""Measurements that can be made again: each prints a table and JSON."""
