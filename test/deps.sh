#!/bin/sh
# Installs those of the Debian packages PACKAGE... that are missing; asks nothing.  Where it cannot, it prints the
# line that would, and fails.  Servers among them are not started (RUNLEVEL).
#
#     test/deps.sh PACKAGE...
set -eu

if ! command -v dpkg-query >/dev/null; then
    echo "Not a Debian system; what is needed is called there: $*"
    exit 0
fi

missing=
for package; do
    case $(dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null) in
    *installed*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root=sudo
    [ -t 0 ] || as_root='sudo -n'
fi
install="apt-get install -y --no-install-recommends$missing"
echo "Installing:$missing"
# shellcheck disable=SC2086 # both are lists of words
if { [ -z "$as_root" ] || command -v sudo >/dev/null; } &&
    { $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q || true; } &&
    $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 $install -q -o DPkg::Lock::Timeout=300 </dev/null; then
    exit 0
fi
echo "These packages are needed and could not be installed.  As root, run:" >&2
echo "    apt-get update && $install" >&2
exit 1
