"""TOML files that people write, checked against a model."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from manifests.ground.errors import MarginaliaError, explain
from manifests.ground.near_names import did_you_mean

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
        raise error(_not_there(path, names, what))
    return read_toml(path, model, what=what, error=error)


def _not_there(path: Path, names: Sequence[str], what: str) -> str:
    files = sorted(p.name for p in path.parent.glob("*.toml"))
    if path.is_dir():
        near = did_you_mean(f"{path.name}.toml", files)
        new = f"marginalia {what.replace(' ', '-')} new"
        return f"{path} is a folder: expected the TOML file of a {what}, as `{new}` writes it{near}"
    if path.suffix or len(path.parts) > 1:  # no name has a dot
        return (
            f"no file {path}{did_you_mean(path.name, files)}: expected the TOML file of a {what}, "
            f"as seen from {Path.cwd()}"
        )
    return (
        f"no {what} {str(path)!r}{did_you_mean(str(path), [*names, *files])}: expected one of "
        f"{', '.join(names)}, or the path of a TOML file"
    )


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
    except FileNotFoundError as cause:
        beside = (p.name for p in path.parent.glob("*.toml"))
        msg = f"{what}: there is no file {path}{did_you_mean(path.name, beside)}"
        raise error(msg) from cause
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        msg = f"{what} {path} cannot be read: {cause}"
        raise error(msg) from cause
    except ValidationError as cause:
        raise error(explain(cause, f"{what} {path}")) from cause
