// Sums over all segmentations of a hidden semi-Markov model: likelihood, posteriors, expected counts.
//
//   end[t, j]   = sum_d duration[j, d] * start[t-d, j] * emissions of j in frames t-d..t-1     t = 1..T
//   start[t, j] = sum_i end[t, i] * transition[i, j],   start[0] = initial
//   likelihood  = sum_j end[T, j] * final[j]
//
// (S.-Z. Yu, "Hidden semi-Markov models", Artificial Intelligence 174, 2010.) The emissions of a segment are
// the ratio of two running products, kept as extended numbers: a ratio is as exact as the product of its own
// frames, however long the sequence. O(T K (R + L)) time; a ring of the last L frames is all that is kept.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>

#include "hmm/executor.hpp"
#include "hmm/longest_first.hpp"
#include "hmm/semi_markov_tables.hpp"

HMM_BEGIN_TARGET

namespace detail {

// The segments that may end next, by the frame in which they began. Runs in either direction of time.
template <typename Real>
class OpenSegments {
 public:
  using Int = typename Simd<Real>::Int;

  // Allocates.
  void reserve(std::int64_t states, std::int64_t longest) {
    size_ = padded<Real>(states);
    longest_ = longest;
    start_.reserve(longest * size_);
    product_.reserve(size_);
  }

  // Forgets everything.
  void clear() {
    pushed_ = 0;
    newest_ = longest_ - 1;
    base_ = 0;
    for (std::int64_t j = 0; j < size_; j += kLanes<Real>)
      product_.store(j, {splat<Vec<Real>>(Real{1}), IntVec<Real>{}});
  }

  // Segments begin here, with these weights times 2^base().
  void push(const ExtendedArray<Real>& start) {
    newest_ = newest_ + 1 == longest_ ? 0 : newest_ + 1;
    ++pushed_;
    for (std::int64_t j = 0; j < size_; j += kLanes<Real>) {
      const Extended<Real> s = start.load(j), p = product_.load(j);
      start_.store(newest_ * size_ + j, saturated(extend<Real>(s.m / p.m, s.e - p.e)));
    }
  }

  // All of them get one frame longer.
  void advance(const Real* log_emission) {
    constexpr Int kLimit = -Format<Real>::kLowestExponent / 16;
    IntVec<Real> far{};
    for (std::int64_t j = 0; j < size_; j += kLanes<Real>) {
      const Extended<Real> p = normalized(product_.load(j) * exp_extended(load<Vec<Real>>(log_emission + j)));
      product_.store(j, p);
      far = far | (p.e > kLimit) | (p.e < -kLimit);  // zero has an exponent below
    }
    if (any(far)) rescale(0);
  }

  // Moves a common factor of 2^shift from the weights into base().
  void move_base(Int shift) {
    base_ += shift;
    rescale(shift);
  }
  std::int64_t base() const { return base_; }
  std::int64_t pushed() const { return pushed_; }

  // Total weight of the segments of states j.. that end here: those pushed first have a table of their own.
  Extended<Real> close(std::int64_t j, const DurationTables<Real>& tables, SegmentKind rest,
                       SegmentKind first) const {
    const ExtendedArray<Real>& weight = tables.weight();
    const std::int64_t table = tables.offset(rest) + j;
    const bool whole = pushed_ <= longest_;
    const std::int64_t n = whole ? pushed_ - 1 : longest_;
    const std::int64_t before_wrap = n < newest_ + 1 ? n : newest_ + 1;
    const std::int64_t newest = newest_ * size_ + j;
    const std::int64_t oldest = (newest_ + longest_) * size_ + j;
    const std::int64_t first_weight = tables.offset(first) + (pushed_ - 1) * size_ + j;

    const Real* dm = weight.m() + table;
    const Int* de = weight.e() + table;
    const Real* sm = start_.m();
    const Int* se = start_.e();
    IntVec<Real> top = splat_int<Real>(2 * Format<Real>::kZeroExponent);
    const auto raise = [&](std::int64_t begin, std::int64_t end, std::int64_t from) {
      for (std::int64_t d = begin; d < end; ++d)
        top = max(top, load<IntVec<Real>>(de + d * size_) + load<IntVec<Real>>(se + from - d * size_));
    };
    raise(0, before_wrap, newest);
    raise(before_wrap, n, oldest);
    if (whole) top = max(top, weight.load(first_weight).e + start_.load(j).e);

    Vec<Real> total{};
    const auto add = [&](std::int64_t begin, std::int64_t end, std::int64_t from) {
      for (std::int64_t d = begin; d < end; ++d) {
        const IntVec<Real> e = load<IntVec<Real>>(de + d * size_) + load<IntVec<Real>>(se + from - d * size_);
        const Vec<Real> m = load<Vec<Real>>(dm + d * size_) * load<Vec<Real>>(sm + from - d * size_);
        total = madd(m, power_of_two<Real>(e - top), total);
      }
    };
    add(0, before_wrap, newest);
    add(before_wrap, n, oldest);
    if (whole) total = total + relative_to<Real>(weight.load(first_weight) * start_.load(j), top);
    return saturated(normalized(extend<Real>(total, top) * product_.load(j)));
  }

  // Adds to counts (in the layout of the tables) how much each length contributes to close() times factor,
  // which must be a probability.
  void count(std::int64_t j, const DurationTables<Real>& tables, SegmentKind rest, SegmentKind first,
             Extended<Real> factor, Real* counts) const {
    const ExtendedArray<Real>& weight = tables.weight();
    factor = normalized(factor * product_.load(j));
    if (is_zero<Real>(factor.m)) return;
    const auto add = [&](std::int64_t at, std::int64_t slot) {
      const Extended<Real> x = weight.load(at) * start_.load(slot * size_ + j) * factor;
      store(counts + at, load<Vec<Real>>(counts + at) + relative_to<Real>(x, IntVec<Real>{}));
    };
    const bool whole = pushed_ <= longest_;
    const std::int64_t n = whole ? pushed_ - 1 : longest_;
    for (std::int64_t d = 0, slot = newest_; d < n; ++d) {
      add(tables.offset(rest) + d * size_ + j, slot);
      slot = slot == 0 ? longest_ - 1 : slot - 1;
    }
    if (whole) add(tables.offset(first) + (pushed_ - 1) * size_ + j, 0);
  }

 private:
  // Exponents that later sums may add up without overflow. 2^-268435456 stands for anything smaller.
  HMM_INLINE static Extended<Real> saturated(Extended<Real> x) {
    return {x.m, min(x.e, splat_int<Real>(-Format<Real>::kLowestExponent))};
  }

  // Makes the exponents of the running products 0 and divides all weights by 2^shift. Segments through an
  // impossible frame end here, with the product of that state beginning anew. O(L), and rare.
  void rescale(Int shift) {
    const std::int64_t filled = pushed_ < longest_ ? pushed_ : longest_;
    for (std::int64_t j = 0; j < size_; j += kLanes<Real>) {
      const Extended<Real> p = product_.load(j);
      const auto dead = p.m == 0;
      const IntVec<Real> move = p.e - shift;
      for (std::int64_t slot = 0; slot < filled; ++slot) {
        const Extended<Real> s = start_.load(slot * size_ + j);
        const auto gone = dead | (s.m == 0);
        const Extended<Real> moved =
            saturated({s.m, max(s.e + move, splat_int<Real>(Format<Real>::kLowestExponent))});
        start_.store(slot * size_ + j, {gone ? Vec<Real>{} : moved.m,
                                        gone ? splat_int<Real>(Format<Real>::kZeroExponent) : moved.e});
      }
      product_.store(j, {dead ? splat<Vec<Real>>(Real{1}) : p.m, IntVec<Real>{}});
    }
  }

  std::int64_t size_ = 0;
  std::int64_t longest_ = 0;
  std::int64_t pushed_ = 0;
  std::int64_t newest_ = 0;  // slot of the last push
  std::int64_t base_ = 0;
  ExtendedArray<Real> start_;    // (L, size), weights at the start over the product there
  ExtendedArray<Real> product_;  // (size,), emissions since the last rescale
};

// The weights of sequence b: those that all sequences share, or its own.
template <typename Real, typename Input>
class SharedTables {
 public:
  explicit SharedTables(const SemiMarkovModel<Input>& model) : model_(model) {
    const Model<Input>& m = model.hmm;
    shares_transition_ = m.weight_stride == 0 && m.predecessor_stride == 0;
    shares_duration_ = model.duration_stride == 0;
    if (m.batch == 0) return;
    if (shares_transition_) transition_.read(m, m.predecessors, m.log_weight);
    if (shares_duration_) duration_.read(model, model.log_duration);
  }
  const TransitionTables<Real>& transition(std::int64_t b, TransitionTables<Real>& own) const {
    if (shares_transition_) return transition_;
    const Model<Input>& m = model_.hmm;
    own.read(m, m.dense() ? nullptr : m.predecessors + b * m.predecessor_stride,
             m.log_weight + b * m.weight_stride);
    return own;
  }
  const DurationTables<Real>& duration(std::int64_t b, DurationTables<Real>& own) const {
    if (shares_duration_) return duration_;
    own.read(model_, model_.log_duration + b * model_.duration_stride);
    return own;
  }

 private:
  const SemiMarkovModel<Input>& model_;
  bool shares_transition_ = false;
  bool shares_duration_ = false;
  TransitionTables<Real> transition_;
  DurationTables<Real> duration_;
};

// What the recursions over one sequence need, in either direction.
template <typename Real, typename Input>
class SemiMarkovPass {
 public:
  using Int = typename Simd<Real>::Int;

  // Allocates, and prepares the weights of sequence b.
  void open(const SemiMarkovModel<Input>& model, const SharedTables<Real, Input>& shared, std::int64_t b) {
    const Model<Input>& m = model.hmm;
    model_ = &m;
    size_ = padded<Real>(m.states);
    transition_ = &shared.transition(b, own_transition_);
    duration_ = &shared.duration(b, own_duration_);
    length_ = m.lengths[b];
    frames_ = m.log_emission + b * m.frames * m.densities;
    index_ = m.emission_index == nullptr ? nullptr : m.emission_index + b * m.index_stride;
    segments_.reserve(m.states, model.longest);
    for (ExtendedArray<Real>* row : {&initial_, &final_, &end_, &start_}) row->reserve(size_);
    row_.reserve(size_);
    scratch_.reserve(size_);
    for (std::int64_t j = 0; j < size_; ++j) row_[j] = 0;
    const Input* log_initial = m.log_initial + b * m.initial_stride;
    const Input* log_final = m.log_final + b * m.final_stride;
    initial_.exponentials(0, m.states, [&](std::int64_t j) { return log_initial[j]; });
    final_.exponentials(0, m.states, [&](std::int64_t j) { return log_final[j]; });
  }

  // Runs forwards; after(t) sees end() and start() of boundary t = 1..length, both times 2^base(); start()
  // means nothing at the end. Returns the likelihood, times 2^base().
  template <typename After>
  ExtendedScalar<Real> forward(After&& after) {
    segments_.clear();
    segments_.push(initial_);
    for (std::int64_t t = 1; t <= length_; ++t) {
      const bool last = t == length_;
      segments_.advance(frame(t - 1));
      for (std::int64_t j = 0; j < size_; j += kLanes<Real>)
        end_.store(j, segments_.close(j, *duration_, last ? kLast : kInner, last ? kOnly : kFirst));
      keep_in_range(end_);
      if (!last) {
        transition_->enter(end_, start_, scratch_);
        segments_.push(start_);
      }
      after(t);
    }
    return inner_product(end_, final_, size_);
  }

  // Emissions of all states in a frame.
  const Real* frame(std::int64_t t) {
    const Input* from = frames_ + t * model_->densities;
    const std::int64_t K = model_->states;
    if (index_ == nullptr) {
      for (std::int64_t j = 0; j < K; ++j) row_[j] = static_cast<Real>(from[j]);
    } else {
      for (std::int64_t j = 0; j < K; ++j) row_[j] = static_cast<Real>(from[index_[j]]);
    }
    return row_.data();
  }

  // Moves the exponents of boundary weights towards 0 when they have gone far.
  void keep_in_range(ExtendedArray<Real>& x) {
    constexpr Int kLimit = -Format<Real>::kLowestExponent / 16;
    const Int top = top_exponent(x, size_);
    if (top == Format<Real>::kZeroExponent || (top <= kLimit && top >= -kLimit)) return;
    segments_.move_base(top);
    for (std::int64_t j = 0; j < size_; j += kLanes<Real>) {
      const Extended<Real> value = x.load(j);
      x.store(j, normalized(Extended<Real>{value.m, value.e - top}));
    }
  }

  std::int64_t length() const { return length_; }
  std::int64_t size() const { return size_; }
  std::int64_t states() const { return model_->states; }
  std::int64_t base() const { return segments_.base(); }
  OpenSegments<Real>& segments() { return segments_; }
  const TransitionTables<Real>& transition() const { return *transition_; }
  const DurationTables<Real>& duration() const { return *duration_; }
  const ExtendedArray<Real>& initial() const { return initial_; }
  const ExtendedArray<Real>& final() const { return final_; }
  ExtendedArray<Real>& end() { return end_; }
  ExtendedArray<Real>& start() { return start_; }
  Buffer<Real>& scratch() { return scratch_; }

 private:
  const Model<Input>* model_ = nullptr;
  std::int64_t size_ = 0;
  std::int64_t length_ = 0;
  const Input* frames_ = nullptr;
  const std::int64_t* index_ = nullptr;
  const TransitionTables<Real>* transition_ = nullptr;
  const DurationTables<Real>* duration_ = nullptr;
  TransitionTables<Real> own_transition_;
  DurationTables<Real> own_duration_;
  OpenSegments<Real> segments_;
  ExtendedArray<Real> initial_, final_, end_, start_;
  Buffer<Real> row_, scratch_;
};

// Natural logarithm of x * 2^base.
template <typename Real>
double log_of(ExtendedScalar<Real> x, std::int64_t base) {
  if (x.m == 0) return -std::numeric_limits<double>::infinity();
  const double exponent = static_cast<double>(static_cast<std::int64_t>(x.e) + base);
  return __builtin_log(static_cast<double>(x.m)) + exponent * 0.69314718055994530942;
}

// Threads for a pass over all frames whose inner step costs about `cost` nanoseconds for a vector.
template <typename Real, typename Input>
int semi_markov_threads(const SemiMarkovModel<Input>& model, const Executor& executor, double cost) {
  const Model<Input>& m = model.hmm;
  const double steps = static_cast<double>(m.batch) * static_cast<double>(m.frames);
  const double vectors = static_cast<double>(padded<Real>(m.states) / kLanes<Real>);
  const double arcs = static_cast<double>(m.dense() ? m.states : m.slots);
  return useful_threads(executor, m.batch,
                        steps * vectors * cost * (static_cast<double>(model.longest) + arcs));
}

}  // namespace detail

// Log-likelihood (B,) of each sequence: 0 of length 0, -inf where no segmentation is possible.
template <typename Real>
void semi_markov_log_likelihood(const SemiMarkovModel<Real>& model, const Executor& executor,
                                Real* log_likelihood) {
  const int threads = detail::semi_markov_threads<Real>(model, executor, 2.0);
  const detail::SharedTables<Real, Real> shared(model);
  PerWorker<detail::SemiMarkovPass<Real, Real>> passes(threads);
  for_each_sequence(model.hmm, executor, threads, [&](std::int64_t b, int worker) {
    if (model.hmm.lengths[b] == 0) {
      log_likelihood[b] = 0;
      return;
    }
    detail::SemiMarkovPass<Real, Real>& pass = passes[worker];
    pass.open(model, shared, b);
    const detail::ExtendedScalar<Real> total = pass.forward([](std::int64_t) {});
    log_likelihood[b] = static_cast<Real>(detail::log_of(total, pass.base()));
  });
}

namespace detail {

// Forward and backward pass over one sequence after another. In double whatever the input: the occupancy of a
// state is the difference of two running sums, of its starts and its ends.
template <typename Input>
class SemiMarkovCounter {
 public:
  using Real = double;

  void count(const SemiMarkovModel<Input>& model, const SharedTables<Real, Input>& shared, std::int64_t b,
             const SemiMarkovCounts<Input>& out) {
    const Model<Input>& m = model.hmm;
    const std::int64_t K = m.states, T = m.frames, L = model.longest;
    Input* state = out.state + b * T * K;
    for (std::int64_t i = 0; i < T * K; ++i) state[i] = 0;
    pass_.open(model, shared, b);
    const std::int64_t n = pass_.length();
    const std::int64_t size = pass_.size();
    const std::int64_t arcs = pass_.transition().slots() * size, lengths = model.kinds * L * size;
    zero(transition_count_, arcs);
    zero(duration_count_, lengths);
    zero(occupancy_, size);
    zero(initial_count_, size);
    zero(final_count_, size);
    out.log_likelihood[b] = 0;
    if (n > 0) {
      past_.reserve(n * size);
      past_base_.reserve(n);
      const ExtendedScalar<Real> total = pass_.forward([&](std::int64_t t) {
        for (std::int64_t j = 0; j < size; j += kLanes<Real>)
          past_.store((t - 1) * size + j, pass_.end().load(j));
        past_base_[t - 1] = pass_.base();
      });
      out.log_likelihood[b] = static_cast<Input>(log_of(total, pass_.base()));
      if (total.m > 0) backward(total, pass_.base(), state);
    }
    for (std::int64_t j = 0; j < K; ++j) {
      out.initial[b * K + j] = static_cast<Input>(initial_count_[j]);
      out.final[b * K + j] = static_cast<Input>(final_count_[j]);
    }
    const std::int64_t slots = pass_.transition().slots();
    Input* transition = out.transition + b * K * slots;
    for (std::int64_t r = 0; r < slots; ++r) {
      for (std::int64_t j = 0; j < K; ++j)
        transition[m.dense() ? r * K + j : j * slots + r] =
            static_cast<Input>(transition_count_[r * size + j]);
    }
    Input* duration = out.duration + b * model.kinds * K * L;
    for (std::int64_t kind = 0; kind < model.kinds; ++kind) {
      for (std::int64_t j = 0; j < K; ++j) {
        for (std::int64_t d = 0; d < L; ++d)
          duration[(kind * K + j) * L + d] = static_cast<Input>(duration_count_[(kind * L + d) * size + j]);
      }
    }
  }

 private:
  static void zero(Buffer<Real>& buffer, std::int64_t size) {
    buffer.reserve(size);
    for (std::int64_t i = 0; i < size; ++i) buffer[i] = 0;
  }

  // The mirror image of the forward pass: segments are pushed where they end, and close where they start.
  void backward(ExtendedScalar<Real> total, std::int64_t total_base, Input* state) {
    const std::int64_t n = pass_.length(), size = pass_.size();
    const Vec<Real> scale = splat<Vec<Real>>(1 / total.m);
    OpenSegments<Real>& segments = pass_.segments();
    ExtendedArray<Real>& after_start = pass_.end();
    ExtendedArray<Real>& start = pass_.start();
    before_.reserve(size);
    after_end_.reserve(size);

    for (std::int64_t j = 0; j < size; j += kLanes<Real>) {
      Extended<Real> ends = past_.load((n - 1) * size + j) * pass_.final().load(j);
      ends.m = ends.m * scale;
      const Vec<Real> probability = relative_to<Real>(ends, splat_int<Real>(total.e));
      store(final_count_.data() + j, probability);
      store(occupancy_.data() + j, probability);
    }
    segments.clear();
    segments.push(pass_.final());
    for (std::int64_t s = n - 1; s >= 0; --s) {
      const bool first = s == 0;
      const SegmentKind rest = first ? kFirst : kInner, last = first ? kOnly : kLast;
      const Real* emission = pass_.frame(s);
      write(emission, state + s * pass_.states());
      segments.advance(emission);
      for (std::int64_t j = 0; j < size; j += kLanes<Real>)
        after_start.store(j, segments.close(j, pass_.duration(), rest, last));
      pass_.keep_in_range(after_start);
      std::int64_t base = segments.base() - total_base;
      if (first) {
        for (std::int64_t j = 0; j < size; j += kLanes<Real>) start.store(j, pass_.initial().load(j));
      } else {
        base += past_base_[s - 1];
        for (std::int64_t j = 0; j < size; j += kLanes<Real>)
          before_.store(j, past_.load((s - 1) * size + j));
        pass_.transition().enter(before_, start, pass_.scratch());
      }
      const IntVec<Real> relative = splat_int<Real>(total.e - base);
      for (std::int64_t j = 0; j < size; j += kLanes<Real>) {
        Extended<Real> before = start.load(j);
        before.m = before.m * scale;
        const Vec<Real> starts = relative_to<Real>(before * after_start.load(j), relative);
        store(occupancy_.data() + j, load<Vec<Real>>(occupancy_.data() + j) - starts);
        if (first) store(initial_count_.data() + j, starts);
        before.e = before.e - relative;
        segments.count(j, pass_.duration(), rest, last, before, duration_count_.data());
      }
      if (first) return;
      for (std::int64_t j = 0; j < size; j += kLanes<Real>) {
        Extended<Real> scaled = after_start.load(j);
        scaled.m = scaled.m * scale;
        start.store(j, scaled);
      }
      pass_.transition().count(before_, start, relative[0], transition_count_.data());
      pass_.transition().leave(after_start, after_end_, pass_.scratch());
      for (std::int64_t j = 0; j < size; j += kLanes<Real>) {
        Extended<Real> ends = before_.load(j) * after_end_.load(j);
        ends.m = ends.m * scale;
        store(occupancy_.data() + j,
              load<Vec<Real>>(occupancy_.data() + j) + relative_to<Real>(ends, relative));
      }
      segments.push(after_end_);
    }
  }

  // Probabilities of the states in a frame, without the rounding that may leave 0..1; exactly 0 where the
  // frame is impossible.
  void write(const Real* emission, Input* state) {
    for (std::int64_t j = 0; j < pass_.states(); ++j) {
      if (emission[j] == -std::numeric_limits<Real>::infinity()) occupancy_[j] = 0;
      const Real p = occupancy_[j];
      state[j] = static_cast<Input>(p < 0 ? 0 : (p > 1 ? 1 : p));
    }
  }

  SemiMarkovPass<Real, Input> pass_;
  ExtendedArray<Real> past_, before_, after_end_;
  Buffer<std::int64_t> past_base_;
  Buffer<Real> transition_count_, duration_count_, occupancy_, initial_count_, final_count_;
};

}  // namespace detail

// Log-likelihood and expected counts; all 0 where no segmentation is possible. 16 bytes a state and frame of
// the sequence at hand, on each thread.
template <typename Real>
void semi_markov_posterior(const SemiMarkovModel<Real>& model, const Executor& executor,
                           const SemiMarkovCounts<Real>& out) {
  const int threads = detail::semi_markov_threads<double>(model, executor, 10.0);
  const detail::SharedTables<double, Real> shared(model);
  PerWorker<detail::SemiMarkovCounter<Real>> counters(threads);
  for_each_sequence(model.hmm, executor, threads,
                    [&](std::int64_t b, int worker) { counters[worker].count(model, shared, b, out); });
}

HMM_END_TARGET
