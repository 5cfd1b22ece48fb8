# Writes each ```cpp PATH block of a Markdown page to out/PATH.
/^```cpp / { file = out "/" $2; next }
/^```$/ { file = ""; next }
file != "" { print > file }
