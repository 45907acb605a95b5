# find_package(hmm CONFIG) defines hmm::hmm, the C++ engine of hmm-core: headers only.
#
# It asks for C++17 and threads and for nothing else. For speed, compile what includes it with
# -O3 -march=native -fno-math-errno -fno-trapping-math; never with -ffast-math, because -inf is a value here.
include(CMakeFindDependencyMacro)
find_dependency(Threads)

if(NOT TARGET hmm::hmm)
  add_library(hmm::hmm INTERFACE IMPORTED)
  get_filename_component(hmm_INCLUDE_DIR "${CMAKE_CURRENT_LIST_DIR}/../include" ABSOLUTE)
  set_target_properties(
    hmm::hmm PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${hmm_INCLUDE_DIR}" INTERFACE_COMPILE_FEATURES cxx_std_17
                        INTERFACE_LINK_LIBRARIES Threads::Threads)
endif()
