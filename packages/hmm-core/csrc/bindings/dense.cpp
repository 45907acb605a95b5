#include "common.hpp"

void bind_dense(nb::module_&) {}
