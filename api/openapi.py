"""Print the API's description: `python -m api.openapi > frontend/openapi.json`. The dashboard's types come from it."""

import json

from api.app import create_app
from api.settings import Settings


def document() -> str:
    """OpenAPI as JSON; connects to nothing."""
    settings = Settings(DATABASE_URL="postgresql://none")  # pyright: ignore[reportCallIssue]  the field's alias
    return json.dumps(create_app(settings).openapi(), indent=1) + "\n"


if __name__ == "__main__":
    print(document(), end="")
