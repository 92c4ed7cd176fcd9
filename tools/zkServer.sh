#!/usr/bin/env bash
# zkServer.sh for existing scripts and unit files: finds the configuration where Apache's script
# does, then hands over to the zkore binary ($ZKORE_BIN, or the one built beside this script, or
# the one in PATH).
set -u

here="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)"
prefix="$here/.."

usage() {
    echo "Usage: $0 [--config <conf-dir>]" \
        "{start|start-foreground|stop|version|restart|status|print-cmd}" >&2
}

if [ $# -gt 1 ] && [ "$1" = --config ]; then
    ZOOCFGDIR="$2"
    shift 2
fi
if [ -z "${ZOOCFGDIR:-}" ]; then
    for dir in "$prefix/conf" "$prefix/etc/zookeeper"; do
        if [ -d "$dir" ]; then
            ZOOCFGDIR="$dir"
            break
        fi
    done
fi
if [ -n "${ZOOCFGDIR:-}" ]; then
    # Both files belong to the operator, and say which directories and flags to use.
    for file in zookeeper-env.sh java.env; do
        if [ -f "$ZOOCFGDIR/$file" ]; then
            set +u
            # shellcheck source=/dev/null
            . "$ZOOCFGDIR/$file"
            set -u
        fi
    done
    export ZOOCFGDIR
fi
export ZOO_LOG_DIR="${ZOO_LOG_DIR:-$prefix/logs}"
for variable in ZOOCFG ZOOPIDFILE ZOO_DATADIR_AUTOCREATE_DISABLE JVMFLAGS SERVER_JVMFLAGS; do
    if [ -n "${!variable:-}" ]; then
        export "${variable?}"
    fi
done

zkore="${ZKORE_BIN:-}"
if [ -z "$zkore" ]; then
    for candidate in "$here/zkore" "$prefix/target/release/zkore" "$(command -v zkore)"; do
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

case "${1:-}" in
start | start-foreground | stop | version | restart | status | print-cmd)
    exec "$zkore" "$@"
    ;;
*)
    usage
    ;;
esac
