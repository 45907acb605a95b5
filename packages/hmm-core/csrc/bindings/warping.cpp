#include "common.hpp"

void bind_warping(nb::module_&) {}
