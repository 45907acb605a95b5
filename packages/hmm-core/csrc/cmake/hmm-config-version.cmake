# Before 1.0 a new minor version may change anything; after it, a new major version.
file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/../include/hmm/version.hpp" PACKAGE_VERSION REGEX "define HMM_VERSION")
string(REGEX REPLACE ".*\"([0-9.]+).*\".*" "\\1" PACKAGE_VERSION "${PACKAGE_VERSION}")
string(REGEX MATCH "^(0\\.[0-9]+|[0-9]+)" hmm_series "${PACKAGE_VERSION}")

if(PACKAGE_FIND_VERSION MATCHES "^${hmm_series}(\\.|$)" AND NOT PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
