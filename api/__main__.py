"""python -m api: serve the API and the page."""

import sys

import structlog
import uvicorn
from pydantic import ValidationError

from api.app import create_app
from api.settings import Settings
from catalog.telemetry import set_up_logging


def main() -> int:
    set_up_logging("api")
    try:
        settings = Settings()  # pyright: ignore[reportCallIssue]: the fields come from the environment
    except ValidationError as error:
        for problem in error.errors(include_input=False):
            print(f"CHARTFLEET_{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}", file=sys.stderr)
        return 2
    structlog.get_logger().info("the API starts", action="start", host=settings.api_host, port=settings.api_port)
    uvicorn.run(
        create_app(settings), host=settings.api_host, port=settings.api_port, log_config=None, access_log=False, server_header=False
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
