// Threads that share every step of one recursion, and meet between the steps.
//
// A step's items are dealt out to the members, who take from each other what nobody has begun. The leader
// waits only for what another has begun: a member that the system has put aside, or that never came, costs
// its help and no more.
#pragma once

#include <cstdint>
#include <type_traits>

#include "hmm/buffer.hpp"
#include "hmm/executor.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <sched.h>
#include <time.h>
#endif

HMM_BEGIN_TARGET

class Team {
 public:
  explicit Team(int members = 1) : members_(members < 1 ? 1 : members) {
    if (members_ == 1) return;
    tickets_.reserve(members_);
    for (int m = 0; m < members_; ++m) tickets_[m] = Ticket{};
  }

  int members() const { return members_; }

  // Calls body(item, member) for every item 0..items-1, and returns when all are done; `member` is
  // 0..members()-1 and never the same for two calls that run at once. What a call computes must not depend on
  // `member`, and it must not throw. For the leader only.
  template <typename Body>
  HMM_INLINE void share(std::int64_t items, Body&& body) {
    if (members_ == 1 || items <= 1 || items > kMostItems) {
      for (std::int64_t item = 0; item < items; ++item) body(item, leader_);
      return;
    }
    using Plain = std::remove_reference_t<Body>;
    __atomic_store_n(&done_, 0, __ATOMIC_RELAXED);
    if (++step_ == kEnded) step_ = 1;
    for (int m = 0; m < members_; ++m) {
      Ticket& ticket = tickets_[m];
      ticket.call = [](void* context, std::int64_t item, int member) {
        (*static_cast<Plain*>(context))(item, member);
      };
      ticket.context = const_cast<void*>(static_cast<const void*>(&body));
      const auto begin = static_cast<std::uint64_t>(items * m / members_);
      const auto end = static_cast<std::uint64_t>(items * (m + 1) / members_);
      __atomic_store_n(&ticket.items, step_ << 32 | begin << 16 | end, __ATOMIC_RELEASE);
    }
    work(leader_);
    for (int tries = 0; __atomic_load_n(&done_, __ATOMIC_ACQUIRE) != items;) pause(tries, false);
  }

 private:
  template <typename Lead>
  friend void gather(const Executor& executor, int members, Lead&& lead);

  static constexpr std::int64_t kMostItems = (1 << 16) - 1;
  static constexpr std::uint64_t kEnded = std::uint64_t{1} << 31;

  // A member's part of a step, on a cache line of its own: all that a member needs in order to begin.
  struct alignas(64) Ticket {
    std::uint64_t items = 0;  // step << 32 | next item << 16 | end of the items
    void (*call)(void*, std::int64_t, int) = nullptr;
    void* context = nullptr;
  };

  // Ends a team, whether its leader returns or throws.
  struct End {
    Team& team;
    ~End() {
      for (int m = 0; team.members_ > 1 && m < team.members_; ++m)
        __atomic_store_n(&team.tickets_[m].items, kEnded << 32, __ATOMIC_RELEASE);
    }
  };

  // One of the members: the first to come leads, the others help until it is done.
  template <typename Lead>
  void join(int member, Lead& lead) {
    if (__atomic_exchange_n(&led_, true, __ATOMIC_ACQ_REL)) {
      help(member);
      return;
    }
    leader_ = member;
    const End end{*this};
    lead(*this);
  }

  void help(int member) {
    std::uint64_t seen = 0;
    for (int tries = 0;;) {
      const std::uint64_t step = __atomic_load_n(&tickets_[member].items, __ATOMIC_ACQUIRE) >> 32;
      if (step == kEnded) return;
      if (step == seen) {
        pause(tries, true);
        continue;
      }
      seen = step;
      tries = 0;
      work(member);
    }
  }

  // Takes items, one's own first, while there are some. The step is part of a ticket, so that nothing is
  // taken from a step that is over.
  void work(int member) {
    for (int i = 0; i < members_; ++i) {
      Ticket& ticket = tickets_[(member + i) % members_];
      std::uint64_t items = __atomic_load_n(&ticket.items, __ATOMIC_ACQUIRE);
      while ((items >> 16 & 0xffff) < (items & 0xffff)) {
        if (!__atomic_compare_exchange_n(&ticket.items, &items, items + (1 << 16), false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_ACQUIRE))
          continue;
        ticket.call(ticket.context, static_cast<std::int64_t>(items >> 16 & 0xffff), member);
        __atomic_fetch_add(&done_, 1, __ATOMIC_RELEASE);
        items = __atomic_load_n(&ticket.items, __ATOMIC_ACQUIRE);
      }
    }
  }

  // Waits a little, and leaves the core to others after a while. Who waits without being waited for sleeps.
  static void pause(int& tries, [[maybe_unused]] bool sleep) {
    constexpr int kSpins = 2000;
    constexpr int kYields = 200;
    if (tries < kSpins + kYields) ++tries;
    if (tries <= kSpins) {
      spin();
      return;
    }
#if defined(__unix__) || defined(__APPLE__)
    if (sleep && tries >= kSpins + kYields) {
      const timespec moment{0, 20000};
      nanosleep(&moment, nullptr);
      return;
    }
    sched_yield();
#endif
  }

  const int members_;
  bool led_ = false;
  int leader_ = 0;
  std::uint64_t step_ = 0;
  Buffer<Ticket> tickets_;             // of each member
  alignas(64) std::int64_t done_ = 0;  // items of the present step
};

// Members worth having for steps of `work` nanoseconds each, `total` of all steps: a member with less than
// `least` of a step waits longer for the others and for what they have written.
inline int useful_members(const Executor& executor, double work, double least, double total) {
  const int threads = useful_threads(executor, executor.threads, total);
  const double useful = work / least;
  return useful < 2 ? 1 : useful < threads ? static_cast<int>(useful) : threads;
}

// Calls lead(team) once, on a thread that `members` - 1 others help with what the team shares.
template <typename Lead>
void gather(const Executor& executor, int members, Lead&& lead) {
  if (executor.run == nullptr) members = 1;
  Team team(members);
  parallel_for(executor, members, members, [&](std::int64_t, int member) { team.join(member, lead); });
}

// Calls body(item, worker, team) for every item. With one member, each thread takes items of its own and is a
// team by itself; otherwise a team shares the steps of one item after another. Every thread that takes items
// has a Worker.
template <typename Worker, typename Body>
void for_each_item(const Executor& executor, std::int64_t items, int members, double effort, Body&& body) {
  if (members > 1) {
    gather(executor, members, [&](Team& team) {
      Worker worker;
      for (std::int64_t item = 0; item < items; ++item) body(item, worker, team);
    });
    return;
  }
  struct Alone {
    Worker worker;
    Team team;
  };
  const int threads = useful_threads(executor, items, effort);
  PerWorker<Alone> workers(threads);
  parallel_for(executor, items, threads, [&](std::int64_t item, int worker) {
    body(item, workers[worker].worker, workers[worker].team);
  });
}

HMM_END_TARGET
