#!/usr/bin/env bash
# Installs what the integration tests need beside the Rust toolchain: Node and Python with the providers' own
# libraries, into target/test-deps, openssl, which makes certificates, nginx, an app that speaks TLS and HTTP/2, and
# strace, which watches and breaks system calls. Does nothing where all of it is there already.
set -euo pipefail
cd "$(dirname "$0")/.."

deps=target/test-deps
mkdir -p "$deps/node" "$deps/python"

missing=()
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v openssl >/dev/null || missing+=(openssl)
PATH="$PATH:/usr/sbin" command -v nginx >/dev/null || missing+=(nginx-light)
command -v strace >/dev/null || missing+=(strace)
command -v python3 >/dev/null || missing+=(python3)
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
if ((${#missing[@]})); then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "the tests need ${missing[*]}; install them (on Debian: apt-get install ${missing[*]})" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# `.installed` says from what the libraries were installed: the interpreter and the list of versions.
if [ "$(cat "$deps/node/.installed" 2>/dev/null)" != "$(node --version; sha256sum <tests/senders/package.json)" ]; then
    echo "installing the providers' Node libraries"
    cp tests/senders/package.json "$deps/node/"
    npm install --prefix "$deps/node" --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error
    (node --version; sha256sum <tests/senders/package.json) >"$deps/node/.installed"
fi

if [ "$(cat "$deps/python/.installed" 2>/dev/null)" != "$(python3 --version; sha256sum <tests/senders/requirements.txt)" ]; then
    echo "installing the providers' Python libraries"
    python3 -m venv --clear "$deps/python"
    "$deps/python/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
        --requirement tests/senders/requirements.txt
    (python3 --version; sha256sum <tests/senders/requirements.txt) >"$deps/python/.installed"
fi
