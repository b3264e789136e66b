"""Errors that a user can act on."""


class MarginaliaError(Exception):
    """Above every error that marginalia raises on purpose.

    The message says what went wrong, where, what was expected, what came, and what to do next.
    """


class LabelSpaceError(MarginaliaError):
    """A label space is not well formed, or no label space has that name."""


class ManifestError(MarginaliaError):
    """A manifest cannot be read, written, queried or edited as asked."""


class GeometryError(MarginaliaError):
    """An image's grid cannot be used: its size, spacing or direction makes no sense."""


class RecipeError(MarginaliaError):
    """A recipe is not well formed, or no recipe has that name."""


class SourceError(MarginaliaError):
    """A dataset's archive or folder is missing, damaged or unsafe."""


class TrainingError(MarginaliaError):
    """A training, prediction or evaluation cannot run as asked."""


class CheckpointError(TrainingError):
    """A checkpoint is damaged, or belongs to something else."""
