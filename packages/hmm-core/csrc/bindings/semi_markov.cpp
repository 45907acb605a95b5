#include "common.hpp"

void bind_semi_markov(nb::module_&) {}
