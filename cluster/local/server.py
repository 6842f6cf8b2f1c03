"""The laptop graph with a Ray of its own, until SIGINT or SIGTERM: what `serve run` does with the same file, sooner.

`serve run` lets a worker import and build the application once Serve is up, and starts Ray's dashboard, whose job API
runs code for whoever reaches it. Here this process imports it while Ray's processes start, and there is no dashboard.
"""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import validate_call

if TYPE_CHECKING:
    from ray.serve import Application


def main() -> None:
    """`python -c 'from cluster.local.server import main; main()' CONFIG`, for a graph in processes of its own."""
    serve_until_interrupted(yaml.safe_load(Path(sys.argv[1]).read_text("utf-8")))


def serve_until_interrupted(config: Mapping[str, Any], submitted: Callable[[], None] = lambda: None) -> None:
    """config: serve_config.laptop.yaml, parsed. submitted: called once Serve has the application.

    Raises as `build_app` does.
    """
    import ray
    from ray import serve

    (application,) = config["applications"]
    try:
        _stop_on_signals()
        with ThreadPoolExecutor(1) as pool:
            built = pool.submit(_build, application)
            ray.init(address="local", include_dashboard=False)
        _stop_on_signals()  # Ray has put a handler in the place of one, which aborts
        target = serve.RunTarget(
            built.result(), application["name"], application["route_prefix"], config["logging_config"]
        )
        serve.start(
            proxy_location=config["proxy_location"],
            http_options=config["http_options"],
            logging_config=config["logging_config"],
        )
        # A scorer that refuses its checkpoint does not end the server: its /health says why.
        serve.run_many([target], wait_for_applications_running=False)
        submitted()
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        if ray.is_initialized():
            serve.shutdown()
            ray.shutdown()


def _stop_on_signals() -> None:
    """A shell starts what runs in its background with SIGINT ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _build(application: Mapping[str, Any]) -> Application:
    """As Serve does: the builder's annotation says what its arguments are."""
    module, _, name = application["import_path"].partition(":")
    builder: Callable[[Any], Application] = validate_call(getattr(importlib.import_module(module), name))
    return builder(application["args"])
