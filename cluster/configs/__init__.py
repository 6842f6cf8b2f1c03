"""The configuration files, as they travel in the package. Those of the graph are links to the top of the checkout."""

from pathlib import Path

LAPTOP = Path(__file__).with_name("laptop.yaml")
PRODUCTION = Path(__file__).with_name("production.yaml")
ENVIRONMENT = Path(__file__).with_name("serve.env")
HAPROXY = Path(__file__).with_name("serve.haproxy.env")
TRAINING = {path.stem: path for path in sorted(Path(__file__).with_name("training").glob("*.yaml"))}
