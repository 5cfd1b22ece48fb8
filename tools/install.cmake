# What `cmake --install BUILD --prefix PREFIX` puts into PREFIX, which may be moved afterwards. The build tree has a link
# where an installation has the configurations, so that the program finds them in the same way.
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/share/medfusion)
file(CREATE_LINK ${CMAKE_SOURCE_DIR}/tools/configs ${CMAKE_BINARY_DIR}/share/medfusion/configs SYMBOLIC)

set_target_properties(medfusion PROPERTIES INSTALL_RPATH "$ORIGIN/../lib")
set_target_properties(medfusion_engine PROPERTIES EXPORT_NAME engine)
install(TARGETS medfusion DESTINATION bin)
install(DIRECTORY tools/configs DESTINATION share/medfusion)
if(cuda_found)  # `medfusion kernels inspect` reads it
  install(FILES $<TARGET_FILE:medfusion_engine>.ptxas DESTINATION lib)
endif()

# The library: #include "core/tensor.h" as in the source tree. Headers that need CUDA's stay out.
install(TARGETS medfusion_engine EXPORT medfusion DESTINATION lib)
install(DIRECTORY ${MEDFUSION_FOLDERS} DESTINATION include/medfusion FILES_MATCHING PATTERN "*.h" PATTERN "*.cuh"
  PATTERN "*_cuda.h" EXCLUDE PATTERN configs EXCLUDE PATTERN medfusion EXCLUDE)  # not the program's own
target_include_directories(medfusion_engine INTERFACE $<INSTALL_INTERFACE:include/medfusion>)
target_compile_features(medfusion_engine INTERFACE $<INSTALL_INTERFACE:cxx_std_20>)
target_link_libraries(medfusion_engine INTERFACE
  $<INSTALL_INTERFACE:fmt::fmt> $<INSTALL_INTERFACE:nlohmann_json::nlohmann_json> $<INSTALL_INTERFACE:Eigen3::Eigen>)
include(CMakePackageConfigHelpers)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/medfusion-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES tools/medfusion-config.cmake ${CMAKE_BINARY_DIR}/medfusion-config-version.cmake DESTINATION lib/cmake/medfusion)
install(EXPORT medfusion NAMESPACE medfusion:: FILE medfusion-targets.cmake DESTINATION lib/cmake/medfusion)

# The program prints its man page and completions itself.
function(install_printed folder name)
  set(file ${CMAKE_BINARY_DIR}/share/${folder}/${name})
  install(CODE "
    file(MAKE_DIRECTORY \"${CMAKE_BINARY_DIR}/share/${folder}\")
    execute_process(COMMAND \"$<TARGET_FILE:medfusion>\" ${ARGN} OUTPUT_FILE \"${file}\" COMMAND_ERROR_IS_FATAL ANY)")
  install(FILES ${file} DESTINATION share/${folder})
endfunction()
install_printed(man/man1 medfusion.1 man)
install_printed(bash-completion/completions medfusion completions bash)
install_printed(zsh/site-functions _medfusion completions zsh)
install_printed(fish/vendor_completions.d medfusion.fish completions fish)
