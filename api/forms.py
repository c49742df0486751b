"""Fields that several routes share."""

from typing import Annotated

from fastapi import File, Form, UploadFile

PLAIN_TEXT = r"^[^\x00-\x1f\x7f]+$"
"""What a database keeps and a terminal shows: no control characters."""

NameField = Annotated[
    str, Form(min_length=1, max_length=200, pattern=PLAIN_TEXT, description="for people; need not be unique")
]
PathField = Annotated[
    str | None,
    Form(
        min_length=1,
        max_length=1000,
        pattern=PLAIN_TEXT,
        description="folder on the server, relative to the one that the operator has opened, in place of `files`",
    ),
]
FilesField = Annotated[list[UploadFile], File(default_factory=list, description="one zip, or the files one by one")]
