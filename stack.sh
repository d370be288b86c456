#!/bin/sh
# Picks the interpreter and the lock that this system can run.
#
#   ./stack.sh [PYTHON]     prints: PYTHON LOCK VERSION GLIBC
#
# TensorFlow Data Validation decides: its wheels of the current stack (requirements.txt) need glibc
# 2.39 and Python 3.11 to 3.13, those of the earlier one (requirements-2024.txt) Python 3.11.
set -eu

fail() {
  echo "stack.sh: $1" >&2
  exit 1
}

glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)
[ -n "$glibc" ] && [ "$(uname -m)" = x86_64 ] ||
  fail "TensorFlow Data Validation has wheels for Linux with glibc on x86_64 alone"
if [ "$(printf '%s\n' 2.39 "$glibc" | sort -V | head -n1)" = 2.39 ]; then
  lock=requirements supported='3.13 3.12 3.11'
else
  lock=requirements-2024 supported='3.11'
fi

wanted=${1:-}
# shellcheck disable=SC2086 # one word a version
for python in ${wanted:-$(printf 'python%s ' $supported) python3}; do
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  case " $supported " in
    *" $version "*) echo "$python $lock $version $glibc" && exit ;;
  esac
done
fail "with glibc $glibc the stack is $lock.txt, which needs Python $(echo "$supported" | sed 's/ / or /g');\
 ${wanted:-python3} is ${version:-not found}; install one, and name it: make PYTHON=/path/to/python"
