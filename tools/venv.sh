#!/bin/sh
# Makes the virtual environment $1 with a Python that fits, or keeps the one that is there.
# PYTHON=... in the environment names the interpreter; otherwise the newest that works is taken.
set -eu
venv=$1
fits='import sys; sys.exit(sys.version_info < (3, 11))'

say() { printf '%s\n' "streamkit: $*" >&2; }

if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c "$fits" 2>/dev/null && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    exit 0
fi

# A shim of a version manager may stand for a version that is not installed: each candidate is run, not looked up.
chosen= lacking=
for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3 python}; do
    "$candidate" -c "$fits" >/dev/null 2>&1 || continue
    if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        chosen=$candidate
        break
    fi
    lacking="$lacking $candidate"
done

if [ -z "$chosen" ]; then
    if [ -n "$lacking" ]; then
        say "found$lacking, but without the venv module; install it (Debian, Ubuntu: apt-get install python3-venv) or name another: make PYTHON=/path/to/python3"
    elif [ -n "${PYTHON:-}" ]; then
        say "PYTHON=$PYTHON is not a Python 3.11 or newer that runs here"
    else
        say "needs Python 3.11 or newer, and found none; install one, or name it: make PYTHON=/path/to/python3"
    fi
    exit 1
fi

say "making $venv with $("$chosen" -V 2>&1)"
rm -rf "$venv"
"$chosen" -m venv "$venv"
# Dependency groups need pip 25.1; the one that comes with Python 3.11 is older.
"$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
