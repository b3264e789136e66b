"""TOML files that people write, checked against a model."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from manifests.ground.errors import MarginaliaError, explain

Model = TypeVar("Model", bound=BaseModel)


class StrictModel(BaseModel):
    """A model of facts that do not change; a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def load_toml(
    name_or_path: str | Path,
    model: type[Model],
    *,
    shipped: Path,
    what: str,
    error: type[MarginaliaError],
) -> Model:
    """Read a TOML file of the folder `shipped` by its name, or another by its path.

    Raises:
        MarginaliaError: An `error`: there is no such file, or it is not well formed.
    """
    names, path = sorted(p.stem for p in shipped.glob("*.toml")), Path(name_or_path)
    if str(name_or_path) in names:
        path = shipped / f"{name_or_path}.toml"
    elif not path.is_file():
        msg = (
            f"no {what} {str(name_or_path)!r}: expected one of {', '.join(names)}, or the path of "
            f"a TOML file"
        )
        raise error(msg)
    return read_toml(path, model, what=what, error=error)


def read_toml(path: Path, model: type[Model], *, what: str, error: type[MarginaliaError]) -> Model:
    """Read a TOML file into a model.

    Validators find the file's folder as `folder` in their context. In an error, the file is called
    `what`, as in `"recipe"`.

    Raises:
        MarginaliaError: An `error`: the file cannot be read, or is not well formed.
    """
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
        return model.model_validate(facts, context={"folder": path.parent})
    except RecursionError as cause:
        msg = f"{what} {path} cannot be read: its lists or tables are nested too deep"
        raise error(msg) from cause
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        msg = f"{what} {path} cannot be read: {cause}"
        raise error(msg) from cause
    except ValidationError as cause:
        raise error(explain(cause, f"{what} {path}")) from cause
