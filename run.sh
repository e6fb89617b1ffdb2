#!/usr/bin/env bash
# Everything a person does with this project: makes .venv when it is missing or stale, then does what was asked for.
set -euo pipefail
caller=$PWD  # where relative paths in options start
cd "$(dirname "${BASH_SOURCE[0]}")"
python=$PWD/.venv/bin/python

usage() {
    cat <<'HELP'
usage: ./run.sh [demo] [OPTIONS]  a collector, a factory and a controller on a week of ship traffic (the default);
                                  ./run.sh demo --help lists the options
       ./run.sh demo --kafka      the same over a Kafka broker that it starts itself (another 12 MB, once);
                                  with --bootstrap HOST:PORT over a broker of yours
       ./run.sh test [PYTEST..]   the tests; -m slow for the long ones
       ./run.sh check             ruff and mypy
       ./run.sh bench [ARGS]      the benchmarks: prints a table, writes bench.json
       ./run.sh factory [ARGS]    the flow alone, configured by environment (FACTORY_CONFIG, FACTORY_DATA_ROOT, ...);
                                  ARGS go to bytewax.run
       ./run.sh help              this text
PYTHON=/path/to/python3.11 ./run.sh ... chooses the interpreter (3.10, 3.11 or 3.12).
HELP
}

say() { echo "run.sh: $*" >&2; }
die() { say "$*"; exit 1; }

# Starting an interpreter is the only honest test of it: a version manager's shim may be there and refuse.
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }
supported() { [[ $1 =~ ^3\.1[012]$ ]]; }
makes_venvs() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# Makes an empty .venv, or ends with one line that says what helps.
make_venv() {
    local candidate candidates=(python3.12 python3.11 python3.10 python3) version seen='' no_venv=''
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        version=$(version_of "$candidate")
        if supported "$version"; then
            makes_venvs "$candidate" && break
            no_venv=${no_venv:-$version}
        fi
        seen=${seen:-$version}
        candidate=''
    done
    if [ -n "$candidate" ]; then
        say "making .venv with Python $version ($(command -v "$candidate")); takes about a minute, once"
        "$candidate" -m venv --clear .venv || die "cannot make $PWD/.venv (see the line above)"
    elif [ -z "${PYTHON:-}" ] && command -v uv >/dev/null; then
        say "making .venv with Python 3.12 from uv; takes about a minute, once"
        uv venv --quiet --seed --clear --python 3.12 .venv || die "uv cannot make $PWD/.venv (see the line above)"
    elif [ -n "$no_venv" ]; then
        die "Python $no_venv has no venv module: sudo apt-get install python$no_venv-venv"
    elif [ -n "${PYTHON:-}" ]; then
        die "PYTHON=$PYTHON is ${seen:+Python }${seen:-no Python that starts}; 3.10, 3.11 or 3.12 is needed"
    elif [ -n "$seen" ]; then
        die "Python $seen found, 3.10, 3.11 or 3.12 needed (Bytewax has no wheels for others):" \
            "python3 -m venv ~/.uv && ~/.uv/bin/pip install uv && PATH=~/.uv/bin:\$PATH ./run.sh"
    else
        die "no Python found: sudo apt-get install python3 python3-venv"
    fi
}

# install EXTRA MEGABYTES: this project, editable, into .venv; 200 MB more are needed on the way.
install() {
    local free_mb needed_mb=$(($2 + 200))
    free_mb=$(($(df -Pk . | awk 'NR == 2 { print $4 }') / 1024))
    [ "$free_mb" -ge "$needed_mb" ] || die "no space: $needed_mb MB needed in $PWD, $free_mb MB free"
    ready demo || make_venv
    say "installing what '$1' needs ($2 MB; log in .venv/install.log)"
    {
        "$python" -m ensurepip && "$python" -m pip install --no-compile -e ".[$1]"
    } >.venv/install.log 2>&1 ||
        die "installing failed: $(grep -m1 -iE 'no space|error' .venv/install.log || tail -n1 .venv/install.log)"
    [ "$1" = dev ] || slim
    stamp_for "$python" >".venv/made-for-$1"
}

# Leaves out what running needs not (60 MB): the installer, C++ headers, test suites of the two largest packages.
slim() {
    "$python" -m pip uninstall --quiet --yes pip setuptools >>.venv/install.log 2>&1
    find .venv/lib -type d \( -path '*/pyarrow/include' -o -path '*/pyarrow/tests' -o -path '*/scipy/*/tests' \) \
        -prune -exec rm -rf {} +
}

# What an installation depends on: the interpreter, the project's metadata, the folder (editable: it points here).
stamp_for() { echo "$("$1" -V 2>&1) $(cksum <pyproject.toml) $PWD"; }
ready() { [ "$(cat ".venv/made-for-$1" 2>/dev/null)" = "$(stamp_for "${PYTHON:-$python}")" ]; }
need_demo() { ready dev || ready demo || install demo 400; }
need_broker() { ready dev || ready broker || install broker 20; }
need_dev() { ready dev || install dev 900; }

# The flow with its recovery store, which is the factory's own.
factory() {
    local store=$FACTORY_DATA_ROOT/recovery
    if [ ! -e "$store/part-0.sqlite3" ]; then
        mkdir -p -m 0700 "$store" && "$python" -m bytewax.recovery "$store" 1 || die "factory: cannot make $store"
    fi
    exec "$python" -m bytewax.run dataflow.flow:flow -r "$store" -s 5 -b 0 "$@"
}

verb=demo
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
    verb=$1
    shift
fi
case $verb in
    demo)
        need_demo
        [[ " $* " != *" --kafka "* ]] || need_broker
        cd "$caller"
        exec "$python" -m dataflow.demo "$@"
        ;;
    test)
        need_dev
        exec "$python" -m pytest "$@"
        ;;
    check)
        need_dev
        "$python" -m ruff check
        "$python" -m ruff format --check
        if [[ $("$python" -V) == "Python 3.10."* ]]; then
            say "mypy left out: the newest NumPy and SciPy for Python 3.10 have older types than the code is written for"
        else
            exec "$python" -m mypy
        fi
        ;;
    bench)
        need_dev
        exec "$python" -m tests.bench "$@"
        ;;
    factory)
        [ -n "${FACTORY_DATA_ROOT:-}" ] || die "factory: FACTORY_DATA_ROOT must name the folder to work in"
        need_demo
        cd "$caller"
        factory "$@"
        ;;
    help) usage ;;
    *)
        say "unknown verb $verb"
        usage >&2
        exit 2
        ;;
esac
