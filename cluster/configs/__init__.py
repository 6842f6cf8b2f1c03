"""The configuration files of the graph, as they travel in the package: links to those at the top of the checkout."""

from pathlib import Path

LAPTOP = Path(__file__).with_name("laptop.yaml")
PRODUCTION = Path(__file__).with_name("production.yaml")
ENVIRONMENT = Path(__file__).with_name("serve.env")
