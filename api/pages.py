"""The templates of what people read."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def templates() -> Environment:
    """An environment in which everything is escaped, and nothing may be missing."""
    return Environment(loader=PackageLoader("api"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
