#!/usr/bin/env bash
# zkCli.sh for existing scripts: hands over to the zkore binary ($ZKORE_BIN, or the one built
# beside this script, or the one in PATH).
set -u

here="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)"

zkore="${ZKORE_BIN:-}"
if [ -z "$zkore" ]; then
    for candidate in "$here/zkore" "$here/../target/release/zkore" "$(command -v zkore)"; do
        if [ -x "$candidate" ]; then
            zkore="$candidate"
            break
        fi
    done
fi
if [ -z "$zkore" ]; then
    echo "Error: zkore is neither built (cargo build --release) nor in PATH." >&2
    exit 1
fi

exec "$zkore" cli "$@"
