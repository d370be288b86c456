#!/bin/sh
# All tests in a Debian 13 root, with the lock of the current stack: what users of a newer system see.
#
#   tests/debian13.sh [MAKE'S WORDS]     default: test
#
# Made by debootstrap in a folder that is removed afterwards, in namespaces of its own: as root, with
# debootstrap and unshare. Go, its modules and uv's cache are those of this machine.
set -eu
cd "$(dirname "$0")/.."

if [ -z "${BEAM_JOBS_ROOT:-}" ]; then
  BEAM_JOBS_ROOT=$(mktemp -d)
  export BEAM_JOBS_ROOT
  trap 'rm -rf --one-file-system "$BEAM_JOBS_ROOT"' EXIT
  trap 'exit 1' INT TERM
  debootstrap --variant=minbase \
    --include=python3,python3-dev,python3-venv,g++,make,git,ca-certificates,procps \
    trixie "$BEAM_JOBS_ROOT" >"$BEAM_JOBS_ROOT.log" 2>&1 || { cat "$BEAM_JOBS_ROOT.log" >&2; exit 1; }
  rm "$BEAM_JOBS_ROOT.log"
  unshare --mount --pid --fork --kill-child "$0" "$@"
  exit
fi

root=$BEAM_JOBS_ROOT
unset BEAM_JOBS_ROOT
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
share() { # a folder of this machine, where there is one
  [ -d "$1" ] || return 0
  mkdir -p "$root$1"
  mount --bind "$1" "$root$1"
}
share /etc/ssl/certs
share /usr/local/go
for cache in "${UV_CACHE_DIR:-$HOME/.cache/uv}" "$HOME/go" "$HOME/.cache/go-build"; do
  mkdir -p "$cache"
  share "$cache"
done
cp /etc/resolv.conf "$root/etc/resolv.conf"
git clone --quiet . "$root/checkout"
unset MAKELEVEL MAKEFLAGS MFLAGS
export PATH=/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8
# The image's own test builds this stack on this Debian already, outside.
export PYTEST_ADDOPTS=--deselect=tests/integration/test_image.py
exec chroot "$root" make --directory=/checkout "${@:-test}"
