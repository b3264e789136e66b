"""TOML files that people write, checked against a model."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from manifests.ground.errors import MarginaliaError, explain

Model = TypeVar("Model", bound=BaseModel)


def read_toml(path: Path, model: type[Model], *, what: str, error: type[MarginaliaError]) -> Model:
    """Read a TOML file into a model.

    Args:
        path: The file; validators find its folder as `folder` in their context.
        model: What it must be.
        what: What it is called in an error, as in `"recipe"`.
        error: The error to raise.

    Raises:
        MarginaliaError: An `error`: the file cannot be read, or is not well formed.
    """
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
        return model.model_validate(facts, context={"folder": path.parent})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        msg = f"{what} {path} cannot be read: {cause}"
        raise error(msg) from cause
    except ValidationError as cause:
        raise error(explain(cause, f"{what} {path}")) from cause
