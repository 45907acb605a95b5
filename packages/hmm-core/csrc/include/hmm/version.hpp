// The version of the package that these headers belong to.
#pragma once

#define HMM_VERSION "0.1.0"
