// How kernels run many independent items: through whatever pool of threads the caller hands them.
#pragma once

#include <cstdint>
#include <type_traits>

#include "hmm/target.hpp"

namespace hmm {

// Calls body(context, item, worker) once for every item 0..items-1, in any order, on at most `threads`
// threads at a time; `worker` is 0..threads-1 and never the same for two calls that run at once. Returns when
// all are done.
struct Executor {
  int threads = 1;
  void (*run)(void* pool, std::int64_t items, int threads, void (*body)(void*, std::int64_t, int),
              void* context) = nullptr;  // null: one after another
  void* pool = nullptr;
};

}  // namespace hmm

HMM_BEGIN_TARGET

// One turn of a loop that waits for another thread.
HMM_INLINE void spin() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// Threads worth using for `work` elementary operations (about a nanosecond each) in `items` pieces: waking a
// thread costs some ten microseconds.
inline int useful_threads(const Executor& executor, std::int64_t items, double work) {
  constexpr double kWorkPerThread = 50e3;
  double useful = 1.0 + work / kWorkPerThread;
  if (useful > static_cast<double>(executor.threads)) useful = executor.threads;
  if (useful > static_cast<double>(items)) useful = static_cast<double>(items);
  return useful < 1.0 || executor.run == nullptr ? 1 : static_cast<int>(useful);
}

// Calls body(item, worker) for every item. What a call computes must not depend on `worker`.
template <typename Body>
void parallel_for(const Executor& executor, std::int64_t items, int threads, Body&& body) {
  if (threads <= 1 || executor.run == nullptr) {
    for (std::int64_t item = 0; item < items; ++item) body(item, 0);
    return;
  }
  using Plain = std::remove_reference_t<Body>;
  executor.run(
      executor.pool, items, threads,
      [](void* context, std::int64_t item, int worker) { (*static_cast<Plain*>(context))(item, worker); },
      &body);
}

HMM_END_TARGET
