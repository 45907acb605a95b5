// Teams: every item of every step once, steps one after the other, whoever comes, late or never.
#include "hmm/team.hpp"

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "hmm/thread_pool.hpp"

#if defined(__unix__)
#include <sys/wait.h>
#endif

namespace {

using Integer = std::int64_t;

// Steps of changing size, each of which adds to what the step before has left: order and visibility. Members
// count their items without locks.
void run_steps(const hmm::Executor& executor, int members, int steps) {
  constexpr Integer kItems = 40;
  std::vector<Integer> values(kItems, 0);
  std::vector<Integer> done(static_cast<std::size_t>(members) * 8, 0);
  Integer all = 0;
  hmm::gather(executor, members, [&](hmm::Team& team) {
    CHECK(team.members() == (executor.run == nullptr ? 1 : members));
    for (int step = 0; step < steps; ++step) {
      const Integer items = step % (kItems + 1);
      team.share(items, [&](Integer item, int member) {
        CHECK(item >= 0 && item < items && member >= 0 && member < members);
        ++done[static_cast<std::size_t>(member) * 8];
        ++values[static_cast<std::size_t>(item)];
      });
      all += items;
      for (Integer item = 0; item < kItems; ++item) {
        const Integer rounds = step / (kItems + 1) * (kItems - item);
        const Integer rest = step % (kItems + 1) - item;
        CHECK(values[static_cast<std::size_t>(item)] == rounds + (rest > 0 ? rest : 0));
      }
    }
  });
  Integer total = 0;
  for (int member = 0; member < members; ++member) total += done[static_cast<std::size_t>(member) * 8];
  CHECK(total == all);
}

void every_item_of_every_step_runs_once() {
  for (const int members : {1, 2, 3, 17}) run_steps(hmm::ThreadPool::executor(members), members, 500);
  for (int i = 0; i < 300; ++i) run_steps(hmm::ThreadPool::executor(2 + i % 3), 2 + i % 3, i % 9);
  run_steps(hmm::Executor{}, 4, 100);
}

// Runs everything on the caller's thread, under the number of the last worker.
void in_turns(void*, std::int64_t items, int threads, void (*body)(void*, std::int64_t, int), void* context) {
  for (std::int64_t item = 0; item < items; ++item) body(context, item, threads - 1);
}

void a_team_needs_nobody_but_its_leader() {
  run_steps({4, &in_turns, nullptr}, 4, 200);
  // The pool is busy: everything runs in the worker that asks.
  const hmm::Executor executor = hmm::ThreadPool::executor(3);
  hmm::parallel_for(executor, 6, 3, [&](Integer, int) { run_steps(executor, 3, 100); });
}

void members_that_pause_within_an_item_are_waited_for() {
  const hmm::Executor executor = hmm::ThreadPool::executor(3);
  hmm::gather(executor, 3, [&](hmm::Team& team) {
    std::vector<int> written(12, 0);
    for (int step = 1; step < 20; ++step) {
      team.share(12, [&](Integer item, int member) {
        if (member != 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
        written[static_cast<std::size_t>(item)] = step;
      });
      for (const int value : written) CHECK(value == step);
    }
  });
}

void steps_may_have_more_items_than_a_ticket_counts() {
  const hmm::Executor executor = hmm::ThreadPool::executor(2);
  for (const Integer items : {65535, 65536, 100000}) {
    std::vector<unsigned char> runs(static_cast<std::size_t>(items), 0);
    hmm::gather(executor, 2, [&](hmm::Team& team) {
      team.share(items, [&](Integer item, int) { ++runs[static_cast<std::size_t>(item)]; });
    });
    for (const unsigned char count : runs) CHECK(count == 1);
  }
}

void an_exception_of_the_leader_reaches_the_caller() {
  const hmm::Executor executor = hmm::ThreadPool::executor(3);
  bool caught = false;
  try {
    hmm::gather(executor, 3, [&](hmm::Team& team) {
      team.share(5, [](Integer, int) {});
      throw std::runtime_error("leader");
    });
  } catch (const std::runtime_error& error) {
    caught = error.what() == std::string("leader");
  }
  CHECK(caught);
  run_steps(executor, 3, 50);
}

void several_teams_at_once_get_their_own_results() {
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([] {
      for (int i = 0; i < 20; ++i) run_steps(hmm::ThreadPool::executor(3), 3, 60);
    });
  for (std::thread& caller : callers) caller.join();
}

void steps_of_little_work_stay_with_one() {
  const hmm::Executor executor = hmm::ThreadPool::executor(4);
  CHECK(hmm::useful_members(executor, 1e2, 1e3, 1e9) == 1);
  CHECK(hmm::useful_members(executor, 1e9, 1e3, 1e2) == 1);
  CHECK(hmm::useful_members(executor, 1e9, 1e3, 1e9) == 4);
  CHECK(hmm::useful_members(executor, 3.5e3, 1e3, 1e9) == 3);
  CHECK(hmm::useful_members(hmm::Executor{}, 1e9, 1e3, 1e9) == 1);
}

void a_child_has_teams_of_its_own() {
#if defined(__unix__) && !defined(__SANITIZE_THREAD__)  // The thread sanitizer does not survive a fork.
  run_steps(hmm::ThreadPool::executor(3), 3, 100);
  const pid_t child = fork();
  if (child == 0) {
    run_steps(hmm::ThreadPool::executor(3), 3, 100);
    _exit(0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#endif
}

}  // namespace

int main() {
  every_item_of_every_step_runs_once();
  a_team_needs_nobody_but_its_leader();
  members_that_pause_within_an_item_are_waited_for();
  steps_may_have_more_items_than_a_ticket_counts();
  an_exception_of_the_leader_reaches_the_caller();
  several_teams_at_once_get_their_own_results();
  steps_of_little_work_stay_with_one();
  a_child_has_teams_of_its_own();
}
