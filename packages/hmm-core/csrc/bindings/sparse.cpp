#include "common.hpp"

void bind_sparse(nb::module_&) {}
