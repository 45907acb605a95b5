#include "common.hpp"

void bind_sampling(nb::module_&) {}
