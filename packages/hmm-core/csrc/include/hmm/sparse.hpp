// Forward, backward and what follows from both, for sparse transitions.
//
//   alpha[1, j] = initial[j] emission[1, j]
//   alpha[t, j] = (sum_i alpha[t-1, i] weight[t-1, i, j]) emission[t, j]
//   beta[n, i]  = final[i]
//   beta[t, i]  = sum_j weight[t, i, j] emission[t+1, j] beta[t+1, j]
//
// Messages are numbers with exponents of their own, so that no sum needs a logarithm and none loses a term.
// Only the states that a path can be in are visited in each frame. Where both messages are needed, the
// forward ones are formed again, block by block, from those of a few frames: blocks stay in the cache, which
// is faster than to keep them all in memory.
#pragma once

#include <cstdint>

#include "hmm/arcs.hpp"
#include "hmm/buffer.hpp"
#include "hmm/executor.hpp"
#include "hmm/extended.hpp"
#include "hmm/longest_first.hpp"
#include "hmm/model.hpp"
#include "hmm/sparse_recursion.hpp"
#include "hmm/team.hpp"

HMM_BEGIN_TARGET

namespace sparse {

// Nanoseconds, roughly, that a frame of one sequence takes, and a pass.
template <typename Real>
double frame_work(const Model<Real>& m) {
  return static_cast<double>(m.states) * (1.0 + static_cast<double>(m.slots) / 4);
}
template <typename Real>
double work(const Model<Real>& m) {
  return static_cast<double>(m.batch) * static_cast<double>(m.frames) * frame_work(m);
}

// Calls body(item, worker, team) for every item, as for_each_item does; a team shares the states of a frame.
template <typename Worker, typename Real, typename Body>
void for_parts(const Model<Real>& m, const Executor& executor, std::int64_t items, double effort,
               Body&& body) {
  constexpr double kLeastShare = 2000;
  const int members =
      items < executor.threads ? useful_members(executor, frame_work(m), kLeastShare, effort) : 1;
  for_each_item<Worker>(executor, items, members, effort, body);
}

// Calls body(b, worker, team) for every sequence, the longest first.
template <typename Worker, typename Real, typename Body>
void for_sequences(const Model<Real>& m, const Executor& executor, double effort, Body&& body) {
  const LongestFirst order(m.lengths, m.batch, m.frames);
  for_parts<Worker>(m, executor, m.batch, effort,
                    [&](std::int64_t i, Worker& worker, Team& team) { body(order[i], worker, team); });
}

// Frames of which the forward messages are held at once in a sequence of n, whatever its batch: all, where
// they fit into two megabytes, else what stays in the second cache while it is read back.
template <typename Real>
std::int64_t block_frames(std::int64_t K, std::int64_t n) {
  const std::int64_t bytes = (K + 1) * static_cast<std::int64_t>(3 * sizeof(Real));
  if (n <= (std::int64_t{1} << 21) / bytes) return n < 1 ? 1 : n;
  const std::int64_t frames = (std::int64_t{1} << 20) / bytes;
  return frames < 8 ? 8 : frames;
}

// The same, but O(sqrt(n)) blocks at most.
template <typename Real>
std::int64_t few_blocks_frames(std::int64_t K, std::int64_t n) {
  std::int64_t root = 1;
  while (root * root < n) ++root;
  const std::int64_t frames = block_frames<Real>(K, n);
  return root > frames ? root : frames;
}

// Goes through the frames of a sequence from the last to the first with both messages.
template <typename Real>
class TwoWay {
 public:
  using Int = IntOf<Real>;
  using V = Vec<Real>;
  using I = IntVec<Real>;

  Recursion<Real> recursion;
  Buffer<Real> gamma;  // occupation of each state in the frame, times 1 / factor

  bool ready() const { return states_ != 0; }
  // Messages to start blocks from are kept here (`own`), unless the caller keeps them.
  void open(const Model<Real>& model, const Shared<Real>& shared, Team& team, bool own) {
    own_ = own;
    states_ = model.states;
    std::int64_t rows = 1;
    std::int64_t blocks = 1;
    for (std::int64_t b = 0; b < model.batch; ++b) {
      const std::int64_t n = model.lengths[b];
      const std::int64_t block = frames_of(n);
      rows = block > rows ? block : rows;
      blocks = n / block + 1 > blocks ? n / block + 1 : blocks;
    }
    recursion.open(model, shared, team, Need::kBoth, true, true, rows);
    parts_.reserve((states_ + Arcs::kChunk - 1) / Arcs::kChunk);
    gamma.reserve(padded<Real>(states_) + kLanes<Real>);
    if (own) {
      own_m_.reserve(blocks * states_);
      own_e_.reserve(blocks * states_);
    }
  }

  bool load_sequence(std::int64_t b) {
    const bool possible = recursion.load_sequence(b);
    block_ = frames_of(recursion.length());
    return possible;
  }

  // Log-likelihood of the sequence loaded. Keeps what run() needs.
  double forward() {
    const std::int64_t n = recursion.length();
    const std::int64_t tail = (n - 1) / block_ * block_;
    for (std::int64_t t = 0; t < n; ++t) {
      if (!recursion.advance(t, t < tail ? -1 : t - tail)) return -static_cast<double>(kInfinity<Real>);
      if (t % block_ == 0 && t < tail)
        recursion.save(t, own_m_.data() + t / block_ * states_, own_e_.data() + t / block_ * states_);
    }
    return recursion.log_of(recursion.total());
  }

  // For every frame from the last to the first: each(t, factor) with gamma; before it, for its chunks, in any
  // order and at the same time, part(t, c, begin, end, count) with gamma of the states begin..end-1. `kept_m`
  // and `kept_e` are the messages of the whole sequence of which those that begin blocks are there, or null
  // after forward().
  template <typename EachPart, typename EachFrame>
  void run(const Real* kept_m, const Int* kept_e, EachPart&& part, EachFrame&& each) {
    Recursion<Real>& r = recursion;
    const std::int64_t n = r.length();
    const bool own = kept_m == nullptr;
    r.beta.start();
    for (std::int64_t first = (n - 1) / block_ * block_; first >= 0; first -= block_) {
      const std::int64_t end = n - first < block_ ? n : first + block_;
      if (!own || end < n) {
        std::int64_t t = first;
        if (first > 0) {
          const std::int64_t at = own ? first / block_ : first;
          r.restore(first, (own ? own_m_.data() : kept_m) + at * states_,
                    (own ? own_e_.data() : kept_e) + at * states_);
          r.keep(t++, 0);
        }
        for (; t < end; ++t) {
          if (!r.advance(t, t - first)) return;
        }
      }
      for (std::int64_t t = end - 1; t >= first; --t) {
        const std::int64_t row = t - first;
        r.prepare_leaving(t);
        if (t == end - 1) {
          measure(t, row);
          if (z_.mantissa == 0) return;
        } else {
          z_.exponent += r.row_exponent(row + 1) - r.row_exponent(row);
        }
        const std::int64_t before = r.beta.exponent;
        const Real factor = static_cast<Real>(1.0 / z_.mantissa);
        const Int unit = static_cast<Int>(z_.exponent);
        const Real* m = r.row_m(row);
        const Int* e = r.row_e(row);
        const bool alive = r.retreat(
            t, row,
            [&](std::int64_t c, std::int64_t begin, std::int64_t stop, const Real* bm, const Int* be) {
              parts_[c].mantissa = occupation(begin, stop, m, e, bm, be, unit);
              part(t, c, begin, stop, Count<Real>{m, e, unit, factor, nullptr});
            });
        double total = 0;
        r.each_chunk(t, [&](std::int64_t c) { total += parts_[c].mantissa; });
        each(t, factor);
        if (!alive) return;
        if (total > 0) z_.mantissa = total;
        // What the backward message was divided by.
        z_.exponent -= r.beta.exponent - before;
      }
    }
  }

 private:
  // Likelihood in units of the messages of frame t.
  void measure(std::int64_t t, std::int64_t row) {
    z_ = Scaled{};
    recursion.follow(
        t, [&](std::int64_t c, int, std::int64_t begin, std::int64_t end, const Real* m, const Int* e) {
          parts_[c] = inner_product<Real>(recursion.row_m(row) + begin, recursion.row_e(row) + begin, m, e,
                                          end - begin);
        });
    recursion.each_chunk(t, [&](std::int64_t c) { z_.add(parts_[c].mantissa, parts_[c].exponent); });
  }

  double occupation(std::int64_t begin, std::int64_t end, const Real* am, const Int* ae, const Real* bm,
                    const Int* be, Int unit) {
    const I origin = splat_int<Real>(unit);
    V total{};
    Real* out = gamma.data();
    for (std::int64_t j = begin; j < end; j += kLanes<Real>) {
      const V product = load<V>(am + j) * load<V>(bm + (j - begin));
      V q = product * power_of_two<Real>(load<I>(ae + j) + load<I>(be + (j - begin)) - origin);
      if (j + kLanes<Real> <= end) {
        store(out + j, q);
      } else {
        q = lanes_before<Real>(j, end) ? q : V{};
        store_first(out + j, q, end - j);
      }
      total = total + q;
    }
    return static_cast<double>(sum(total));
  }

  std::int64_t frames_of(std::int64_t n) const {
    return own_ ? few_blocks_frames<Real>(states_, n) : block_frames<Real>(states_, n);
  }

  bool own_ = true;
  std::int64_t block_ = 1, states_ = 0;
  Scaled z_;
  Buffer<Scaled> parts_;  // of the chunks
  Buffer<Real> own_m_;
  Buffer<Int> own_e_;
};

// Uses of arcs that add up over frames: in the model's precision for a while, then in double.
template <typename Real>
class ArcCounter {
 public:
  void open(const Arcs& arcs) {
    positions_ = arcs.positions();
    const std::int64_t n = Weights<Real>::room(arcs);
    latest_.reserve(n);
    total_.reserve(n);
    for (std::int64_t i = 0; i < n; ++i) {
      latest_[i] = 0;
      total_[i] = 0;
    }
    frames_ = 0;
  }
  Real* latest() { return latest_.data(); }
  void end_frame() {
    if (++frames_ == 64) flush();
  }
  void flush() {
    for (std::int64_t i = 0; i < positions_; ++i) {
      total_[i] += static_cast<double>(latest_[i]);
      latest_[i] = 0;
    }
    frames_ = 0;
  }
  const double* total() const { return total_.data(); }

 private:
  Buffer<Real> latest_;
  Buffer<double> total_;
  std::int64_t positions_ = 0;
  int frames_ = 0;
};

// Sums over the states that read each density. Neighbouring states add to tables of their own: where every
// other state is the same density, as the blank of CTC is, an addition would wait for the one before.
template <typename Real>
class DensitySums {
 public:
  void open(std::int64_t P, std::int64_t K) {
    densities_ = P;
    tables_ = P <= 2 * K ? kMost : 1;
    pitch_ = padded<Real>(P);
    sums_.reserve(tables_ * pitch_);
  }

  // out[p] = times * sum of gamma[k] over the states k in lo..hi-1 that read p.
  void add_up(const Real* gamma, const std::int32_t* index, std::int64_t lo, std::int64_t hi, Real times,
              Real* out) {
    Real* sums = sums_.data();
    for (std::int64_t i = 0; i < tables_ * pitch_; ++i) sums[i] = 0;
    std::int64_t k = lo;
    if (tables_ == kMost) {
      for (; k + kMost <= hi; k += kMost) {
        for (std::int64_t l = 0; l < kMost; ++l) sums[l * pitch_ + index[k + l]] += gamma[k + l];
      }
    }
    for (; k < hi; ++k) sums[index[k]] += gamma[k];
    for (std::int64_t l = 1; l < tables_; ++l) {
      for (std::int64_t p = 0; p < pitch_; ++p) sums[p] += sums[l * pitch_ + p];
    }
    for (std::int64_t p = 0; p < densities_; ++p) out[p] = sums[p] * times;
  }

 private:
  static constexpr std::int64_t kMost = 8;
  Buffer<Real> sums_;
  std::int64_t densities_ = 0, pitch_ = 0, tables_ = 1;
};

// Sums over sequences in an order that does not depend on threads: each part of the batch adds up its own,
// and the parts are added in order.
class Parts {
 public:
  static constexpr std::int64_t kMost = 16;

  Parts(std::int64_t batch, bool apart) : batch_(batch), count_(!apart && batch > kMost ? kMost : batch) {}
  std::int64_t count() const { return count_; }
  std::int64_t begin(std::int64_t part) const { return part * batch_ / count_; }

 private:
  std::int64_t batch_, count_;
};

inline void clear(double* values, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) values[i] = 0;
}

// out[i] = sum of parts, in order.
template <typename Real>
void add_parts(const double* parts, std::int64_t count, std::int64_t n, Real* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    double total = 0;
    for (std::int64_t part = 0; part < count; ++part) total += parts[part * n + i];
    out[i] = static_cast<Real>(total);
  }
}

}  // namespace sparse

template <typename Real>
void sparse_forward(const Model<Real>& m, const Executor& executor, Real* log_alpha, Real* log_likelihood) {
  using namespace sparse;
  const Shared<Real> shared(m, Need::kForward, false);
  const auto read = [&](std::int64_t b, Recursion<Real>& r, Team& team) {
    r.open(m, shared, team, Need::kForward, true, false, 0);
    const std::int64_t K = m.states;
    Real* out = log_alpha + b * m.frames * K;
    const bool possible = r.load_sequence(b);
    const std::int64_t n = r.length();
    log_likelihood[b] = n == 0 ? Real(0) : -kInfinity<Real>;
    std::int64_t t = 0;
    for (; t < n && r.lo(t) < r.hi(t) && r.advance(t, -1); ++t) {
      Real* row = out + t * K;
      fill(row, r.lo(t), -kInfinity<Real>);
      const Message<Real>& alpha = r.alpha.latest();
      r.share_chunks(t, [&](std::int64_t, std::int64_t begin, std::int64_t end, int) {
        write_log<Real>(alpha.m() + begin, alpha.e() + begin, end - begin, r.alpha.offset(), row + begin);
      });
      fill(row + r.hi(t), K - r.hi(t), -kInfinity<Real>);
    }
    fill(out + t * K, (m.frames - t) * K, -kInfinity<Real>);
    if (n > 0 && t == n && possible) log_likelihood[b] = static_cast<Real>(r.log_of(r.total()));
  };
  for_sequences<Recursion<Real>>(m, executor, work(m), read);
}

template <typename Real>
void sparse_backward(const Model<Real>& m, const Executor& executor, Real* log_beta) {
  using namespace sparse;
  const Shared<Real> shared(m, Need::kBackward, false);
  const auto read = [&](std::int64_t b, Recursion<Real>& r, Team& team) {
    r.open(m, shared, team, Need::kBackward, false, true, 0);
    const std::int64_t K = m.states;
    Real* out = log_beta + b * m.frames * K;
    r.load_sequence(b);
    const std::int64_t n = r.length();
    fill(out + n * K, (m.frames - n) * K, -kInfinity<Real>);
    r.beta.start();
    std::int64_t t = n - 1;
    for (bool alive = true; t >= 0 && alive && r.lo(t) < r.hi(t); --t) {
      Real* row = out + t * K;
      fill(row, r.lo(t), -kInfinity<Real>);
      fill(row + r.hi(t), K - r.hi(t), -kInfinity<Real>);
      r.prepare(t, 0);
      r.prepare_leaving(t);
      const double offset = r.beta.offset();
      alive = r.retreat(t, 0,
                        [&](std::int64_t, std::int64_t begin, std::int64_t end, const Real* mantissa,
                            const IntOf<Real>* exponent) {
                          write_log<Real>(mantissa, exponent, end - begin, offset, row + begin);
                        });
    }
    fill(out, (t + 1) * K, -kInfinity<Real>);
  };
  for_sequences<Recursion<Real>>(m, executor, work(m), read);
}

// Messages of the frames that begin blocks are kept, each in its place.
template <typename Real>
void sparse_log_likelihood(const Model<Real>& m, const Executor& executor, Real* log_likelihood,
                           Real* mantissa, typename Simd<Real>::Int* exponent) {
  using namespace sparse;
  const Shared<Real> shared(m, Need::kBoth, false);
  const auto read = [&](std::int64_t b, Recursion<Real>& r, Team& team) {
    r.open(m, shared, team, Need::kBoth, true, false, 0);
    const bool possible = r.load_sequence(b);
    const std::int64_t n = r.length();
    log_likelihood[b] = n == 0 ? Real(0) : -kInfinity<Real>;
    if (n == 0 || !possible) return;
    const std::int64_t block = block_frames<Real>(m.states, n);
    for (std::int64_t t = 0; t < n; ++t) {
      const bool alive = r.advance(t, -1);
      if (mantissa != nullptr && t % block == 0) {
        const std::int64_t at = (b * m.frames + t) * m.states;
        r.save(t, mantissa + at, exponent + at);
      }
      if (alive) continue;
      if (mantissa == nullptr) return;
      // All that follows is zero.
      for (t = t / block * block + block; t < n; t += block) {
        const std::int64_t at = (b * m.frames + t) * m.states;
        fill(mantissa + at, m.states, Real(0));
        fill(exponent + at, m.states, Format<Real>::kZeroExponent);
      }
      return;
    }
    log_likelihood[b] = static_cast<Real>(r.log_of(r.total()));
  };
  for_sequences<Recursion<Real>>(m, executor, work(m), read);
}

template <typename Real>
void sparse_posterior(const Model<Real>& m, const Executor& executor, Real* state, Real* log_likelihood) {
  using namespace sparse;
  const Shared<Real> shared(m, Need::kBoth, true);
  const auto smooth = [&](std::int64_t b, TwoWay<Real>& both, Team& team) {
    Recursion<Real>& r = both.recursion;
    if (!both.ready()) both.open(m, shared, team, true);
    const std::int64_t K = m.states;
    Real* out = state + b * m.frames * K;
    const bool possible = both.load_sequence(b);
    const std::int64_t n = r.length();
    const double total = n == 0 ? 0.0 : possible ? both.forward() : -static_cast<double>(kInfinity<Real>);
    log_likelihood[b] = static_cast<Real>(total);
    if (n == 0 || total == -static_cast<double>(kInfinity<Real>)) {
      fill(out, m.frames * K, Real(0));
      return;
    }
    fill(out + n * K, (m.frames - n) * K, Real(0));
    std::int64_t reached = n;  // frames from here on are written
    both.run(
        nullptr, nullptr,
        [&](std::int64_t t, std::int64_t, std::int64_t begin, std::int64_t end, const Count<Real>& count) {
          Real* row = out + t * K;
          for (std::int64_t k = begin; k < end; ++k) row[k] = both.gamma[k] * count.factor;
        },
        [&](std::int64_t t, Real) {
          reached = t;
          Real* row = out + t * K;
          fill(row, r.lo(t), Real(0));
          fill(row + r.hi(t), K - r.hi(t), Real(0));
        });
    fill(out, reached * K, Real(0));
  };
  for_sequences<TwoWay<Real>>(m, executor, 3 * work(m), smooth);
}

template <typename Real>
void sparse_expected_transitions(const Model<Real>& m, const Executor& executor, Real* counts) {
  using namespace sparse;
  const Shared<Real> shared(m, Need::kBoth, true);
  struct Worker {
    TwoWay<Real> both;
    ArcCounter<Real> counter;
  };
  const std::int64_t table = m.states * m.slots;
  const std::int64_t steps = m.weight_step == 0 ? 1 : m.frames - 1;
  const auto count_uses = [&](std::int64_t b, Worker& worker, Team& team) {
    TwoWay<Real>& both = worker.both;
    ArcCounter<Real>& counter = worker.counter;
    Recursion<Real>& r = both.recursion;
    if (!both.ready()) both.open(m, shared, team, true);
    Real* out = counts + b * steps * table;
    fill(out, steps * table, Real(0));
    const bool possible = both.load_sequence(b);
    if (r.length() < 2 || !possible || both.forward() == -static_cast<double>(kInfinity<Real>)) return;
    const Arcs& arcs = r.structure().leaving;
    const std::int64_t* entry = arcs.entry();
    counter.open(arcs);
    both.run(
        nullptr, nullptr,
        [&](std::int64_t t, std::int64_t c, std::int64_t begin, std::int64_t end, Count<Real> count) {
          if (t == r.length() - 1) return;
          count.uses = counter.latest();
          Sums<Real>::count(arcs, r.leaving_weights(), r.leaving_chunk(c), begin, end, r.beta.latest(),
                            count);
        },
        [&](std::int64_t t, Real) {
          if (t == r.length() - 1) return;
          if (m.weight_step == 0) {
            counter.end_frame();
            return;
          }
          Real* step = out + t * table;
          Real* uses = counter.latest();
          for (std::int64_t p = 0; p < arcs.positions(); ++p) {
            if (entry[p] >= 0) step[entry[p]] = uses[p];
            uses[p] = 0;
          }
        });
    if (m.weight_step != 0) return;
    counter.flush();
    for (std::int64_t p = 0; p < arcs.positions(); ++p) {
      if (entry[p] >= 0) out[entry[p]] = static_cast<Real>(counter.total()[p]);
    }
  };
  for_sequences<Worker>(m, executor, 4 * work(m), count_uses);
}

template <typename Real>
void sparse_gradient(const Model<Real>& m, const Executor& executor, const Real* upstream,
                     const Real* mantissa, const typename Simd<Real>::Int* exponent, Real* d_initial,
                     Real* d_weight, Real* d_emission, Real* d_final) {
  using namespace sparse;
  const Shared<Real> shared(m, Need::kBoth, true);
  const std::int64_t K = m.states, P = m.densities, T = m.frames;
  const std::int64_t table = K * m.slots;
  const bool varying = m.weight_step != 0;
  const std::int64_t steps = varying ? T - 1 : 1;
  const bool sum_initial = d_initial != nullptr && m.initial_stride == 0;
  const bool sum_final = d_final != nullptr && m.final_stride == 0;
  const bool sum_weight = d_weight != nullptr && m.weight_stride == 0;
  // Weights of every step that all sequences share have room for one sum only.
  const bool in_order = sum_weight && varying;
  const Parts parts(m.batch, !(sum_initial || sum_final || sum_weight));
  const std::int64_t count = in_order ? (m.batch > 0 ? 1 : 0) : parts.count();
  Buffer<double> initial_sum, final_sum, weight_sum;
  if (sum_initial) clear(initial_sum.reserve(count * K), count * K);
  if (sum_final) clear(final_sum.reserve(count * K), count * K);
  if (sum_weight && !varying) clear(weight_sum.reserve(count * table), count * table);
  if (in_order) fill(d_weight, steps * table, Real(0));

  const bool kept = mantissa != nullptr;
  struct Worker {
    TwoWay<Real> both;
    ArcCounter<Real> counter;
    DensitySums<Real> densities;
  };
  const auto one = [&](std::int64_t b, std::int64_t part, Worker& worker, Team& team) {
    TwoWay<Real>& both = worker.both;
    ArcCounter<Real>& counter = worker.counter;
    Recursion<Real>& r = both.recursion;
    if (!both.ready()) both.open(m, shared, team, !kept);
    DensitySums<Real>& densities = worker.densities;
    if (m.emission_index != nullptr) densities.open(P, K);
    Real* d_frames = d_emission == nullptr ? nullptr : d_emission + b * T * P;
    Real* d_first = d_initial == nullptr || sum_initial ? nullptr : d_initial + b * K;
    Real* d_last = d_final == nullptr || sum_final ? nullptr : d_final + b * K;
    Real* d_arcs = d_weight == nullptr || sum_weight ? nullptr : d_weight + b * steps * table;
    if (d_first != nullptr) fill(d_first, K, Real(0));
    if (d_last != nullptr) fill(d_last, K, Real(0));
    if (d_arcs != nullptr) fill(d_arcs, steps * table, Real(0));
    const bool possible = both.load_sequence(b);
    const std::int64_t n = r.length();
    const Real scale = upstream[b];
    if (n == 0 || !possible || (!kept && both.forward() == -static_cast<double>(kInfinity<Real>))) {
      if (d_frames != nullptr) fill(d_frames, T * P, Real(0));
      return;
    }
    if (d_frames != nullptr) fill(d_frames + n * P, (T - n) * P, Real(0));
    std::int64_t reached = n;  // frames from here on are written
    const bool count_arcs = d_weight != nullptr && n > 1;
    const Arcs& arcs = r.structure().leaving;
    const std::int64_t* entry = arcs.entry();
    if (count_arcs) counter.open(arcs);
    const std::int32_t* index = r.index();
    both.run(
        kept ? mantissa + b * T * K : nullptr, kept ? exponent + b * T * K : nullptr,
        [&](std::int64_t t, std::int64_t c, std::int64_t begin, std::int64_t end, Count<Real> uses) {
          if (d_frames != nullptr && index == nullptr) {
            const Real times = uses.factor * scale;
            for (std::int64_t k = begin; k < end; ++k) d_frames[t * P + k] = both.gamma[k] * times;
          }
          if (!count_arcs || t == n - 1) return;
          uses.uses = counter.latest();
          Sums<Real>::count(arcs, r.leaving_weights(), r.leaving_chunk(c), begin, end, r.beta.latest(), uses);
        },
        [&](std::int64_t t, Real factor) {
          reached = t;
          const std::int64_t lo = r.lo(t), hi = r.hi(t);
          const Real times = factor * scale;
          const Real* gamma = both.gamma.data();
          if (d_frames != nullptr) {
            Real* row = d_frames + t * P;
            if (index == nullptr) {
              fill(row, lo, Real(0));
              fill(row + hi, K - hi, Real(0));
            } else {
              densities.add_up(gamma, index, lo, hi, times, row);
            }
          }
          if (t == 0 && d_first != nullptr) {
            for (std::int64_t k = lo; k < hi; ++k) d_first[k] = gamma[k] * times;
          }
          if (t == 0 && sum_initial) {
            for (std::int64_t k = lo; k < hi; ++k)
              initial_sum[part * K + k] += static_cast<double>(gamma[k] * times);
          }
          if (t == n - 1 && d_last != nullptr) {
            for (std::int64_t k = lo; k < hi; ++k) d_last[k] = gamma[k] * times;
          }
          if (t == n - 1 && sum_final) {
            for (std::int64_t k = lo; k < hi; ++k)
              final_sum[part * K + k] += static_cast<double>(gamma[k] * times);
          }
          if (!count_arcs || t == n - 1) return;
          if (!varying) {
            counter.end_frame();
            return;
          }
          Real* step = (in_order ? d_weight : d_arcs) + t * table;
          Real* uses = counter.latest();
          for (std::int64_t p = 0; p < arcs.positions(); ++p) {
            if (entry[p] >= 0) step[entry[p]] += scale * uses[p];
            uses[p] = 0;
          }
        });
    if (d_frames != nullptr) fill(d_frames, reached * P, Real(0));  // no path
    if (!count_arcs || varying) return;
    counter.flush();
    for (std::int64_t p = 0; p < arcs.positions(); ++p) {
      if (entry[p] < 0) continue;
      const double value = static_cast<double>(scale) * counter.total()[p];
      if (sum_weight) {
        weight_sum[part * table + entry[p]] += value;
      } else {
        d_arcs[entry[p]] = static_cast<Real>(value);
      }
    }
  };
  LongestFirst order(m.lengths, m.batch, m.frames);
  order.deal(count, [&](std::int64_t part) { return in_order ? part * m.batch : parts.begin(part); });
  for_parts<Worker>(m, executor, count, 3 * work(m), [&](std::int64_t part, Worker& worker, Team& team) {
    const std::int64_t begin = in_order ? 0 : parts.begin(part);
    const std::int64_t end = in_order ? m.batch : parts.begin(part + 1);
    for (std::int64_t i = begin; i < end; ++i) one(order[i], part, worker, team);
  });
  if (sum_initial) add_parts(initial_sum.data(), count, K, d_initial);
  if (sum_final) add_parts(final_sum.data(), count, K, d_final);
  if (sum_weight && !varying) add_parts(weight_sum.data(), count, table, d_weight);
}

HMM_END_TARGET
