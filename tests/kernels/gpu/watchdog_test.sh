#!/usr/bin/env bash
# MEDFUSION_WATCHDOG: a wait for an mbarrier ends after a number of polls, and says where it was. Reads the PTX of
# watchdog.cu; on a machine with a GPU it runs the program as well.
#   bash watchdog_test.sh NVCC [OPTIONS OF NVCC...]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
nvcc=$1
shift
options=("$@" -std=c++20 --expt-relaxed-constexpr -DFMT_USE_CONSTEXPR=1 -I "$here/../../..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
  echo "watchdog_test.sh: $1" >&2
  exit 1
}

ptx="$work/watchdog.ptx"
"$nvcc" "${options[@]}" -DMEDFUSION_WATCHDOG -arch=compute_90 -ptx "$here/watchdog.cu" -o "$ptx"
# Strings are arrays of bytes there.
strings=$(awk '/\.b8 .*= \{/ {
  sub(/.*\{/, ""); sub(/\}.*/, ""); count = split($0, bytes, /, */)
  for (i = 1; i <= count; ++i) printf "%c", bytes[i]
  print ""
}' "$ptx")
has() { grep -E -- "$1" >/dev/null; }
wait_line=$(grep -n '// the wait$' "$here/watchdog.cu" | cut -d: -f1)
has '/watchdog\.cu$' <<<"$strings" || fail "the kernel's file is not named; strings: $strings"
has '^wait_for_nobody$' <<<"$strings" || fail "the kernel is not named; strings: $strings"
has "st\.param\.b32.*, $wait_line;" <"$ptx" || fail "the line of the wait, $wait_line, is not named"
has '^[[:space:]]*__assertfail,' <"$ptx" || fail "no assertion is called"
has 'mbarrier\.test_wait\.parity' <"$ptx" || fail "the wait does not poll"
if has 'mbarrier\.try_wait' <"$ptx"; then fail "a poll may suspend its thread"; fi
# The only jump back is taken as long as fewer polls than 2^26 were made.
awk '
  /^\$L.*:/ { sub(/:.*/, "", $1); passed[$1] = 1 }
  /bra/ {
    target = $NF; sub(/;$/, "", target)
    if (target in passed) { ++back; if (before !~ /setp\.(lt|ne)\..*, 67108864;$/ || $1 !~ /^@%p/) unbounded = $0 }
  }
  NF > 0 { before = $0 }
  END {
    if (back == 1 && unbounded == "") exit 0
    printf "jumps back: %d; the one without a bound: %s\n", back, unbounded
    exit 1
  }' "$ptx" >&2 || fail "the wait is not a loop of a bounded number of polls"

if ! nvidia-smi -L 2>/dev/null | grep '^GPU ' >/dev/null; then
  echo "SKIPPED: that the wait ends on a GPU (none here); the PTX is as expected"
  exit 0
fi
"$nvcc" "${options[@]}" -DMEDFUSION_WATCHDOG -arch=native "$here/watchdog.cu" -o "$work/watchdog"
timeout -k 5 60 "$work/watchdog" >"$work/output" 2>&1 || fail "the wait did not end in an assertion: $(cat "$work/output")"
has "watchdog\.cu:$wait_line: wait_for_nobody: block: \[0,0,0\], thread: " <"$work/output" ||
  fail "the driver does not name the wait: $(head -3 "$work/output")"
echo "the wait ended: $(head -1 "$work/output")"
