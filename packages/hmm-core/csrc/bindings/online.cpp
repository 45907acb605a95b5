#include "common.hpp"

void bind_online(nb::module_&) {}
