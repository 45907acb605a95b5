// Threads that wait for work, asleep.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

#include "hmm/executor.hpp"

namespace hmm {

// Runs one job at a time; a caller that finds it busy does its own work alone, and nobody waits for a
// stranger. After a fork the child starts threads of its own. The first exception of a job is rethrown to its
// caller.
class ThreadPool {
 public:
  // The pool that the process shares. It is never destroyed: its threads may sleep in it until the process
  // ends.
  static ThreadPool& shared() {
    static std::atomic<ThreadPool*> current{nullptr};
    ThreadPool* pool = current.load(std::memory_order_acquire);
    while (pool == nullptr || pool->process_ != process()) {
      // Without a lock, which a fork could leave held for ever.
      auto* fresh = new ThreadPool();
      if (current.compare_exchange_strong(pool, fresh)) return *fresh;
      delete fresh;
    }
    return *pool;
  }

  // The shared pool as kernels take it.
  static Executor executor(int threads) {
    return {threads < 1 ? 1 : threads,
            [](void*, std::int64_t items, int used, void (*body)(void*, std::int64_t, int), void* context) {
              shared().run(items, used, body, context);
            },
            nullptr};
  }

  void run(std::int64_t items, int threads, void (*body)(void*, std::int64_t, int), void* context) {
    if (threads <= 1 || busy_.exchange(true, std::memory_order_acquire)) {
      for (std::int64_t item = 0; item < items; ++item) body(context, item, 0);
      return;
    }
    const Turn turn{busy_};
    {
      const std::lock_guard<std::mutex> lock(guard_);
      while (helpers_ < threads - 1) {
        try {
          std::thread(&ThreadPool::help, this, helpers_ + 1, generation_).detach();
        } catch (const std::system_error&) {
          break;  // The system refuses more threads: the ones there are do all the work.
        }
        ++helpers_;
      }
      body_ = body;
      context_ = context;
      items_ = items;
      next_.store(0, std::memory_order_relaxed);
      wanted_ = helpers_ < threads - 1 ? helpers_ : threads - 1;
      working_ = wanted_;
      failure_ = nullptr;
      ++generation_;
    }
    start_.notify_all();
    work(0);
    // The others are most often about to end: to fall asleep and be woken takes longer.
    for (int tries = 0; tries < 1000 && working_.load(std::memory_order_relaxed) != 0; ++tries) spin();
    std::unique_lock<std::mutex> lock(guard_);
    done_.wait(lock, [this] { return working_ == 0; });
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  // Ends a job, whether it returns or throws.
  struct Turn {
    std::atomic<bool>& busy;
    ~Turn() { busy.store(false, std::memory_order_release); }
  };

  ThreadPool() : process_(process()) {}

  static long process() {
#if defined(__unix__) || defined(__APPLE__)
    return static_cast<long>(getpid());
#else
    return 0;  // No fork.
#endif
  }

  void help(int worker, std::uint64_t seen) {
    std::unique_lock<std::mutex> lock(guard_);
    for (;;) {
      start_.wait(lock, [&] { return generation_ != seen; });
      seen = generation_;
      if (worker > wanted_) continue;
      lock.unlock();
      work(worker);
      lock.lock();
      if (--working_ == 0) done_.notify_one();
    }
  }

  void work(int worker) noexcept {
    try {
      for (std::int64_t item = next_++; item < items_; item = next_++) body_(context_, item, worker);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(guard_);
      if (!failure_) failure_ = std::current_exception();
      next_ = items_;
    }
  }

  const long process_;
  std::atomic<bool> busy_{false};  // a caller's job runs
  std::mutex guard_;               // of everything below
  std::condition_variable start_, done_;
  int helpers_ = 0;
  int wanted_ = 0;
  std::atomic<int> working_{0};
  std::uint64_t generation_ = 0;
  void (*body_)(void*, std::int64_t, int) = nullptr;
  void* context_ = nullptr;
  std::int64_t items_ = 0;
  std::atomic<std::int64_t> next_{0};
  std::exception_ptr failure_;
};

}  // namespace hmm
