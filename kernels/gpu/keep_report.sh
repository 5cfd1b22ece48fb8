#!/bin/sh
# keep_report.sh COMPILER... -o OBJECT: runs the compiler and keeps what ptxas says of the kernels, in OBJECT.ptxas,
# instead of printing it.
object=
previous=
for argument in "$@"; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
case "$object" in
  *.o) ;;
  *) exec "$@" ;;
esac
"$@" 2>"$object.messages"
status=$?
report='^ptxas info|^ *[0-9]+ bytes stack frame'
grep -E "$report" "$object.messages" >"$object.ptxas"
grep -vE "$report" "$object.messages" >&2
rm -f "$object.messages"
exit $status
