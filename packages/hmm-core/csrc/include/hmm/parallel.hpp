// Independent items over a few short-lived threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace hmm {

// Calls make_worker() in each thread and the worker it returns once for every item. No thread outlives the
// call, so that a process may fork at any time. The first exception is rethrown here.
template <typename MakeWorker>
void parallel_for(std::int64_t items, int threads, const MakeWorker& make_worker) {
  std::atomic<std::int64_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_guard;
  const auto run = [&]() noexcept {
    try {
      auto worker = make_worker();
      for (std::int64_t item = next++; item < items; item = next++) worker(item);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(failure_guard);
      if (!failure) failure = std::current_exception();
      next = items;
    }
  };
  std::vector<std::thread> helpers;
  helpers.reserve(threads > 1 ? static_cast<std::size_t>(threads - 1) : 0);
  for (int helper = 1; helper < threads; ++helper) {
    try {
      helpers.emplace_back(run);
    } catch (const std::system_error&) {
      break;  // The system refuses more threads: the ones there are do all the work.
    }
  }
  run();
  for (std::thread& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace hmm
