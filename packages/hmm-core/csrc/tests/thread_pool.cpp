// The pool: every item once, workers apart, nested and simultaneous jobs, exceptions, forks.
#include "hmm/thread_pool.hpp"

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "hmm/buffer.hpp"

#if defined(__unix__)
#include <sys/wait.h>
#endif

namespace {

using Integer = std::int64_t;

// Runs a job and checks that each item ran once, and no worker twice at a time.
void run_job(Integer items, int threads) {
  const hmm::Executor executor = hmm::ThreadPool::executor(threads);
  std::vector<int> runs(static_cast<std::size_t>(items), 0);
  std::vector<std::atomic<int>> at_work(static_cast<std::size_t>(threads));
  hmm::PerWorker<Integer> sum(threads);
  for (int worker = 0; worker < threads; ++worker) sum[worker] = 0;
  hmm::parallel_for(executor, items, threads, [&](Integer item, int worker) {
    CHECK(worker >= 0 && worker < threads);
    CHECK(at_work[static_cast<std::size_t>(worker)]++ == 0);
    ++runs[static_cast<std::size_t>(item)];
    sum[worker] += item;
    CHECK(at_work[static_cast<std::size_t>(worker)]-- == 1);
  });
  Integer total = 0;
  for (const int count : runs) CHECK(count == 1);
  for (int worker = 0; worker < threads; ++worker) total += sum[worker];
  CHECK(total == items * (items - 1) / 2);
}

void every_item_runs_once() {
  for (const int threads : {1, 2, 3, 17})
    for (const Integer items : {0, 1, 2, 5, 300}) run_job(items, threads);
  for (int i = 0; i < 2000; ++i) run_job(i % 7, 2 + i % 3);
}

void a_job_within_a_job_runs_in_its_worker() {
  const hmm::Executor executor = hmm::ThreadPool::executor(4);
  std::atomic<int> done{0};
  hmm::parallel_for(executor, 20, 4, [&](Integer, int) {
    const std::thread::id self = std::this_thread::get_id();
    hmm::parallel_for(executor, 5, 4, [&](Integer, int worker) {
      CHECK(worker == 0 && std::this_thread::get_id() == self);
      ++done;
    });
  });
  CHECK(done == 100);
}

void several_callers_get_their_own_results() {
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([] {
      for (int i = 0; i < 200; ++i) run_job(40, 3);
    });
  for (std::thread& caller : callers) caller.join();
}

void an_exception_reaches_the_caller_and_the_pool_goes_on() {
  const hmm::Executor executor = hmm::ThreadPool::executor(3);
  for (const Integer bad : {0, 7, 99}) {
    bool caught = false;
    try {
      hmm::parallel_for(executor, 100, 3, [&](Integer item, int) {
        if (item == bad) throw std::runtime_error("item");
      });
    } catch (const std::runtime_error& error) {
      caught = error.what() == std::string("item");
    }
    CHECK(caught);
    run_job(50, 3);
  }
}

void threads_are_used_where_they_pay() {
  const hmm::Executor executor = hmm::ThreadPool::executor(4);
  CHECK(hmm::useful_threads(executor, 100, 1e3) == 1);
  CHECK(hmm::useful_threads(executor, 100, 1e9) == 4);
  CHECK(hmm::useful_threads(executor, 3, 1e9) == 3);
  CHECK(hmm::useful_threads(executor, 0, 1e9) == 1);
  CHECK(hmm::useful_threads(hmm::Executor{}, 100, 1e9) == 1);
  CHECK(hmm::ThreadPool::executor(0).threads == 1);
}

void a_child_has_threads_of_its_own() {
#if defined(__unix__) && !defined(__SANITIZE_THREAD__)  // The thread sanitizer does not survive a fork.
  run_job(100, 3);
  const pid_t child = fork();
  if (child == 0) {
    run_job(100, 3);
    an_exception_reaches_the_caller_and_the_pool_goes_on();
    _exit(0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  run_job(100, 3);
#endif
}

}  // namespace

int main() {
  every_item_runs_once();
  a_job_within_a_job_runs_in_its_worker();
  several_callers_get_their_own_results();
  an_exception_reaches_the_caller_and_the_pool_goes_on();
  threads_are_used_where_they_pay();
  a_child_has_threads_of_its_own();
}
