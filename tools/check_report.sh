#!/usr/bin/env bash
# Checks a report in a browser: bash tools/check_report.sh REPORT.html [OUT_DIR]
# Writes pictures of it at two widths, REPORT-1280.png and REPORT-390.png, and the printed REPORT.pdf into OUT_DIR
# (default: the folder of the report). Exit code 1: the page writes to the console, asks for anything from the network
# or another file, or is wider than a telephone. Exit code 2: there is no browser or no report.
set -euo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ] || [ ! -f "$1" ]; then
  echo "usage: bash tools/check_report.sh REPORT.html [OUT_DIR]; expected a report that exists" >&2
  exit 2
fi
report=$(realpath "$1")
out=${2:-$(dirname "$report")}
browser=${CHROMIUM:-}
for name in chromium chromium-browser google-chrome; do
  [ -n "$browser" ] || browser=$(command -v "$name" || true)
done
if [ -z "$browser" ]; then
  echo "check_report: no chromium found; on Debian: apt-get install chromium, or set CHROMIUM to the program" >&2
  exit 2
fi
mkdir -p "$out"
name=$(basename "$report" .html)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What the page's console says goes to $work/console, where the page went to $work/net.json. No name of a host is
# resolved, so that nothing leaves; the request is on record all the same.
browse() {  # ARGUMENTS...
  timeout 300 "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run \
    --user-data-dir="$work/profile" --host-resolver-rules="MAP * ~NOTFOUND" --log-net-log="$work/net.json" \
    --enable-logging=stderr --v=0 "$@" >"$work/out" 2>"$work/log" || true
  grep -a ':CONSOLE' "$work/log" >"$work/console" || true
  # "not an origin" are the browser's own requests.
  grep -a '"initiator":"' "$work/net.json" | grep -av '"initiator":"not an origin"' |
    grep -aoE '"url":"[^"]*"' >>"$work/requests" || true
}

status=0
fail() {
  echo "check_report: $1" >&2
  status=1
}

# A copy that says how large it is: "size WINDOW WIDTH HEIGHT" on the console.
cp "$report" "$work/page.html"
cat >>"$work/page.html" <<'END'
<script>addEventListener('load', () => console.log('size', innerWidth, document.documentElement.scrollWidth,
  document.documentElement.scrollHeight))</script>
END
: >"$work/requests"
for width in 1280 390; do
  # A headless browser's window is at least 500 pixels wide: the page stands in a frame.
  frame() {  # HEIGHT
    printf '<!DOCTYPE html><body style="margin:0"><iframe src="page.html" style="border:0;width:%spx;height:%spx">' \
      "$width" "$1" >"$work/frame.html"
  }
  frame 800
  browse --window-size=1280,800 --screenshot="$work/first.png" "file://$work/frame.html"
  read -r _ window wide high < <(grep -aoE 'size [0-9]+ [0-9]+ [0-9]+' "$work/console" || echo "size 0 0 0")
  if [ "$high" -eq 0 ]; then
    fail "the page did not load at $width pixels"
    cat "$work/log" >&2
    continue
  fi
  [ "$wide" -le "$window" ] || fail "at $width pixels the page is $wide wide"
  if grep -av 'size [0-9]' "$work/console" >"$work/messages"; then
    fail "at $width pixels the console says:"
    cat "$work/messages" >&2
  fi
  high=$((high < 16000 ? high : 16000))  # the most that a picture may have
  frame "$high"
  picture="$out/$name-$width.png"
  rm -f "$picture"
  browse --window-size="$((width < 500 ? 500 : width)),$high" --screenshot="$picture" "file://$work/frame.html"
  if [ -s "$picture" ]; then echo "$picture"; else fail "no picture at $width pixels"; fi
done
rm -f "$out/$name.pdf"
browse --no-pdf-header-footer --print-to-pdf="$out/$name.pdf" "file://$report"
if [ -s "$out/$name.pdf" ]; then echo "$out/$name.pdf"; else fail "it does not print"; fi
if [ -s "$work/requests" ]; then
  fail "it asks the network for:"
  sort -u "$work/requests" >&2
fi
# Files beside the page are no requests to the network: what it names must be in it.
if grep -oE '(src|href)="[^"#][^"]{0,60}|@import.{0,60}' "$report" | grep -v '"data:' >"$work/addresses"; then
  fail "it names what is not in it:"
  sort -u "$work/addresses" >&2
fi
exit $status
