# Sourced by ./run, ./test and .ci/lock, with $root set: puts uv and the locked packages in place. POSIX sh.
# Nothing is installed outside of .uv/ and .venv/, and a start with nothing to do takes no process but a checksum.

UV_VERSION=0.13.9

say() { printf 'bursar: %s\n' "$*" >&2; }
give_up() { say "$*"; exit 3; }

# Python is tried by running it: under pyenv a name can be on PATH and still not start, and Debian's
# python3 comes without ensurepip until python3-venv is there.
find_python() {
  for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      PYTHON=$candidate
      return 0
    fi
  done
  return 1
}

need_uv() {
  if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then UV=uv; return; fi
  UV=$root/.uv/bin/uv
  if "$UV" --version >/dev/null 2>&1; then return; fi
  find_python || give_up "found no Python >= 3.11 with venv and no uv; install either (on Debian: python3 and python3-venv)"
  say "no uv on this machine; putting uv $UV_VERSION into .uv/"
  "$PYTHON" -m venv --clear "$root/.uv"
  "$root/.uv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes -r "$root/.ci/uv-requirements.txt"
}

# stamp FILE...: one line that changes when any of the files does.
stamp() { cat "$@" | cksum; }

# need_packages KIND LOCK: make .venv hold exactly what LOCK names, unless it is known to.
# A .venv made for tests holds all that a run needs, so each kind has a stamp of its own.
need_packages() {
  kind=$1 lock=$2
  wanted=$(stamp "$root/$lock" "$root/pyproject.toml")
  if [ "$(cat "$root/.venv/bursar-$kind.stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
  need_uv
  if ! "$root/.venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
    say "making .venv"
    # With a uv of its own, a machine may have no Python at all: uv then brings one.
    find_python || PYTHON='>=3.11'
    "$UV" venv --quiet --clear --python "$PYTHON" "$root/.venv"
  fi
  rm -f "$root/.venv/bursar-run.stamp" "$root/.venv/bursar-test.stamp"
  say "installing $(grep -c '==' "$root/$lock") packages into .venv (once; later starts skip this)"
  # On a terminal uv draws its progress; elsewhere it would list every package.
  quiet=--quiet
  if [ -t 2 ]; then quiet=; fi
  "$UV" pip sync $quiet --require-hashes --python "$root/.venv/bin/python" "$root/$lock"
  "$UV" pip install --quiet --no-deps --no-build-isolation --python "$root/.venv/bin/python" --editable "$root"
  stamp "$root/requirements-run.lock" "$root/pyproject.toml" > "$root/.venv/bursar-run.stamp"
  if [ "$kind" = test ]; then printf '%s\n' "$wanted" > "$root/.venv/bursar-test.stamp"; fi
}
