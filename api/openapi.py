"""Print the API's description: `python -m api.openapi > frontend/openapi.json`. The dashboard's types come from it."""

import json
import os


def document() -> str:
    """OpenAPI as JSON; needs no database."""
    os.environ.setdefault("DATABASE_URL", "postgresql://nobody@localhost/none")  # never connected to
    from api.app import create_app  # noqa: PLC0415  after the setting

    return json.dumps(create_app().openapi(), indent=1) + "\n"


if __name__ == "__main__":
    print(document(), end="")
