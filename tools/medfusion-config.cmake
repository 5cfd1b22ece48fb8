# find_package(medfusion) gives the target medfusion::engine. Its headers include those of three libraries; besides,
# kernels/simd.h needs Highway's and kernels/simulator/fiber.h those of Boost.Context.
include(CMakeFindDependencyMacro)
find_dependency(fmt)
find_dependency(nlohmann_json)
find_dependency(Eigen3)
include(${CMAKE_CURRENT_LIST_DIR}/medfusion-targets.cmake)
