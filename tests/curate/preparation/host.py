"""Runs `prepare` in forked children that a test may kill: nothing is imported anew for each.

Reads one request per line as JSON; says the child's process id, which is that of its group too,
and, when it has ended, its exit code, or minus the signal's number.
"""

import json
import os
import resource
import sys
from pathlib import Path

import manifests.ground.workers
from curate.cases.target import Target
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.ground.errors import MarginaliaError

manifests.ground.workers.START_METHOD = "fork"

WHOLE, SET_ASIDE, REFUSED, INCOMPLETE = 0, 3, 4, 5  # exit codes


def main():
    for line in sys.stdin:
        if pid := os.fork():
            say(pid)
            say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        else:
            run(**json.loads(line))


def say(number):
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def run(*, recipes, raw, out, spacing_mm, verify=False, file_bytes=None):
    """Prepare as the command would, and end the process."""
    os.setsid()
    code = 1
    try:
        if file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        code = prepared(recipes, Path(raw), Target(space(), tuple(spacing_mm), Path(out)), verify)
    finally:
        os._exit(code)


def space():
    return load_label_space("abdomen5")


def prepared(recipes, raw, target, verify):
    request = PrepareRequest(tuple(map(load_recipe, recipes)), raw, target, verify=verify)
    try:
        report = prepare(request, workers=2)
    except MarginaliaError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        return REFUSED
    if report.problems:
        return INCOMPLETE
    return SET_ASIDE if report.rejected else WHOLE


if __name__ == "__main__":
    main()
