"""Logging, the same for all processes: one line an event, an action word, the bound context. JSON unless a person is watching."""

import logging
import os
import sys

import structlog


def set_up_logging(process: str) -> None:
    """Send structured lines to standard error; CHARTFLEET_LOG_LEVEL and CHARTFLEET_LOG_FORMAT (json, text) decide what and how."""
    level = logging.getLevelNamesMapping().get(os.environ.get("CHARTFLEET_LOG_LEVEL", "info").upper(), logging.INFO)
    wanted = os.environ.get("CHARTFLEET_LOG_FORMAT") or ("text" if sys.stderr.isatty() else "json")
    plain = structlog.dev.plain_traceback  # the pretty one prints local variables, and with them secrets
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info, structlog.processors.JSONRenderer()] if wanted == "json" else [console]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
