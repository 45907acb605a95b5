// Which variant of the kernels runs: the same sources are compiled once for each instruction set in
// HMM_TARGETS, and the best that the machine can run is chosen when the first kernel is called.
#pragma once

namespace hmm {

enum class Target : int { kNative = 0, kV2 = 2, kV3 = 3, kV4 = 4 };

// The variant in use.
Target target();

// Whether a variant was built and this machine can run it.
bool usable(Target target);

// Uses another usable variant from now on; returns false, and does nothing, if it is not usable. For tests.
bool use(Target target);

}  // namespace hmm

#ifdef HMM_BUILD_v2
#define HMM_CASE_V2(name) \
  case Target::kV2:       \
    return name##_v2;
#else
#define HMM_CASE_V2(name)
#endif
#ifdef HMM_BUILD_v3
#define HMM_CASE_V3(name) \
  case Target::kV3:       \
    return name##_v3;
#else
#define HMM_CASE_V3(name)
#endif
#ifdef HMM_BUILD_v4
#define HMM_CASE_V4(name) \
  case Target::kV4:       \
    return name##_v4;
#else
#define HMM_CASE_V4(name)
#endif
#ifdef HMM_BUILD_native
#define HMM_CASE_NATIVE(name) \
  case Target::kNative:       \
    return name##_native;
#else
#define HMM_CASE_NATIVE(name)
#endif

// Declares the tables `name_v2`, `name_v3`, ... of function pointers that the variants of one source define
// with HMM_DEFINE_KERNELS, and name(), which returns that in use. Inside namespace hmm.
#define HMM_DECLARE_KERNELS(Table, name)                             \
  extern const Table name##_v2, name##_v3, name##_v4, name##_native; \
  inline const Table& name() {                                       \
    switch (target()) {                                              \
      HMM_CASE_V2(name)                                              \
      HMM_CASE_V3(name)                                              \
      HMM_CASE_V4(name)                                              \
      HMM_CASE_NATIVE(name)                                          \
      default:                                                       \
        __builtin_unreachable();                                     \
    }                                                                \
  }

#define HMM_JOIN_(a, b) a##_##b
#define HMM_JOIN(a, b) HMM_JOIN_(a, b)
#define HMM_DEFINE_KERNELS(Table, name) const Table HMM_JOIN(name, HMM_TARGET)
