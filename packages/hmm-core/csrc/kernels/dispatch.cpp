#include "dispatch.hpp"

#include <atomic>
#include <initializer_list>

namespace hmm {
namespace {

bool runs(Target target) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  switch (target) {
    case Target::kV2:
      return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
    case Target::kV3:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("bmi2");
    case Target::kV4:
      return runs(Target::kV3) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512cd");
    default:
      return true;
  }
#else
  return target == Target::kNative;
#endif
}

bool built(Target target) {
  switch (target) {
#ifdef HMM_BUILD_v2
    case Target::kV2:
      return true;
#endif
#ifdef HMM_BUILD_v3
    case Target::kV3:
      return true;
#endif
#ifdef HMM_BUILD_v4
    case Target::kV4:
      return true;
#endif
#ifdef HMM_BUILD_native
    case Target::kNative:
      return true;
#endif
    default:
      return false;
  }
}

Target best() {
  for (const Target target : {Target::kV4, Target::kV3, Target::kV2}) {
    if (usable(target)) return target;
  }
  return Target::kNative;
}

std::atomic<Target>& chosen() {
  static std::atomic<Target> target{best()};
  return target;
}

}  // namespace

bool usable(Target target) { return built(target) && runs(target); }

Target target() { return chosen().load(std::memory_order_relaxed); }

bool use(Target target) {
  if (!usable(target)) return false;
  chosen().store(target, std::memory_order_relaxed);
  return true;
}

}  // namespace hmm
