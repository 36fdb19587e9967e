#!/bin/sh
# The suite on the oldest and the newest supported Python, where this machine has them and $1 is not one of them;
# there every 24th of tests/ that is not marked as long: $1 has run all, and the examples in the documentation.
set -eu
here=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
for version in 3.11 3.13; do
    [ "$version" = "$here" ] && continue
    python=""
    for found in "python$version" "${HOME:-/}"/.pyenv/versions/"$version".*/bin/python; do
        if "$found" -c 'import sys, venv' >/dev/null 2>&1; then python=$found; break; fi
    done
    if [ -z "$python" ]; then
        echo "Python $version is not on this machine; the suite ran on $here."
        continue
    fi
    venv=.venv-$version
    if [ ! -f "$venv/.test" ] || [ pyproject.toml -nt "$venv/.test" ] || [ constraints.txt -nt "$venv/.test" ]; then
        echo "Making $venv"
        "$python" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
        touch "$venv/.test"
    fi
    HELDOUT_TESTS_SHARE=24 "$venv/bin/python" -m pytest -n 2 -m "not long" tests
done
