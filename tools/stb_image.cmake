# stb_image before 2.28 takes bits that a cut scan of a JPEG does not have, by shifts that C++ leaves undefined. Later
# versions look first. stb_image_checked.h is the system's header with these looks where they are missing.
find_file(STB_IMAGE_HEADER stb_image.h HINTS ${stb_INCLUDE_DIRS} PATH_SUFFIXES stb REQUIRED)
file(READ ${STB_IMAGE_HEADER} header)
set(cut "return stbi__err(\"bad huffman code\", \"Corrupt JPEG\")")
string(FIND "${header}" "if (s > j->code_bits) return stbi__err" has_looks)
if(has_looks EQUAL -1)
  foreach(change
      "s = r & 15\; // combined length|if (s > j->code_bits) ${cut}\;"
      "if (j->code_bits < n) stbi__grow_buffer_unsafe(j)\;|if (j->code_bits < n) return 0\;"
      "if (j->code_bits < 1) stbi__grow_buffer_unsafe(j)\;|if (j->code_bits < 1) return 0\;")
    string(REPLACE "|" ";" change "${change}")
    list(GET change 0 before)
    list(GET change 1 look)
    string(FIND "${header}" "${before}" place)
    if(place EQUAL -1)
      message(FATAL_ERROR "${STB_IMAGE_HEADER}: expected '${before}' in it; use version 2.28 or later")
    endif()
    string(REPLACE "${before}" "${before}\n${look}" header "${header}")
  endforeach()
endif()
set(STB_IMAGE_CHECKED_DIR ${CMAKE_BINARY_DIR}/stb)
file(CONFIGURE OUTPUT ${STB_IMAGE_CHECKED_DIR}/stb_image_checked.h CONTENT "${header}" @ONLY)
