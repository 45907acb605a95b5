// Filtering and Viterbi decoding of a stream, a few frames at a time, without allocation.
//
// A filter holds log p(z[t] | y[1..t]), which is what it returned last, and nothing else: a stream that was
// saved continues with the same bits. A decoder commits the part of the path that all surviving paths share:
//
// R. Sramek, B. Brejova, T. Vinar, "On-line Viterbi algorithm for analysis of long biological sequences",
// WABI 2007.
#pragma once

#include <cstdint>
#include <limits>

#include "hmm/buffer.hpp"
#include "hmm/model.hpp"
#include "hmm/steps.hpp"

HMM_BEGIN_TARGET

// The model gives sizes (states, slots, densities: the least number in a frame), log_initial, predecessors,
// log_weight and emission_index; their memory must stay where it is.
template <typename Real>
class OnlineFilter {
 public:
  explicit OnlineFilter(const Model<Real>& model) : model_(model) {
    steps_.open(model.states, model.slots, model.densities);
    steps_.set_index(model.emission_index);
    steps_.set_weights(model.predecessors, model.log_weight, true);
    const std::int64_t size = steps_.padded_states();
    before_ = before_buffer_.reserve(size);
    now_ = now_buffer_.reserve(size);
    log_filter_.reserve(size);
    reset();
  }

  // The next frame is the first.
  void reset() {
    log_likelihood_ = 0;
    frames_ = 0;
    fill(-std::numeric_limits<Real>::infinity());
  }

  // Continues after `frames` frames with these numbers (K,).
  void restore(const Real* log_filter, double log_likelihood, std::int64_t frames) {
    fill(-std::numeric_limits<Real>::infinity());
    for (std::int64_t j = 0; j < model_.states; ++j) log_filter_[j] = log_filter[j];
    log_likelihood_ = log_likelihood;
    frames_ = frames;
  }

  // What restore() takes: log_initial before the first frame.
  void save(Real* log_filter) const {
    const Real* from = frames_ == 0 ? model_.log_initial : log_filter_.data();
    for (std::int64_t j = 0; j < model_.states; ++j) log_filter[j] = from[j];
  }

  // Takes n frames, `width` numbers apart, and writes log_filter (n, K) and, unless null, log_likelihood (n,)
  // after each. Returns false, and does nothing, if a number that a frame holds is NaN or +inf.
  bool push(const Real* log_emission, std::int64_t n, std::int64_t width, Real* log_filter,
            double* log_likelihood) {
    if (!all_below_infinity(log_emission, n * width)) return false;
    const std::int64_t K = model_.states;
    for (std::int64_t t = 0; t < n; ++t) {
      step(log_emission + t * width);
      Real* to = log_filter + t * K;
      std::int64_t j = 0;
      for (; j + kLanes<Real> <= K; j += kLanes<Real>) store(to + j, load<Vec<Real>>(log_filter_.data() + j));
      for (; j < K; ++j) to[j] = log_filter_[j];
      if (log_likelihood != nullptr) log_likelihood[t] = log_likelihood_;
    }
    return true;
  }

  double log_likelihood() const { return log_likelihood_; }
  std::int64_t frames() const { return frames_; }

 private:
  void fill(Real value) {
    for (std::int64_t j = 0; j < steps_.padded_states(); ++j) log_filter_[j] = value;
  }

  void step(const Real* frame) {
    constexpr std::int64_t L = kLanes<Real>;
    constexpr double kNothing = -std::numeric_limits<double>::infinity();
    const std::int64_t size = steps_.padded_states();
    const bool first = frames_++ == 0;
    if (log_likelihood_ == kNothing) return;
    const Real peak = steps_.set_emission(frame);
    Int top = Format<Real>::kZeroExponent;
    if (peak != -std::numeric_limits<Real>::infinity()) {
      if (first) {
        steps_.exp_all(model_.log_initial, now_);
      } else {
        for (std::int64_t j = 0; j < size; j += L) {
          before_.put(j, exp_extended(load<Vec<Real>>(log_filter_.data() + j)));
        }
        steps_.advance(before_, now_);
      }
      top = steps_.settle(now_);
    }
    if (top == Format<Real>::kZeroExponent) {
      log_likelihood_ = kNothing;
      fill(-std::numeric_limits<Real>::infinity());
      return;
    }
    Vec<Real> totals{};
    for (std::int64_t j = 0; j < size; j += L)
      totals = totals + relative_to<Real>(now_.at(j), IntVec<Real>{});
    const Real total = sum(totals);
    for (std::int64_t j = 0; j < size; j += L) {
      const Extended<Real> x = now_.at(j);
      store(log_filter_.data() + j, log_of<Real>({x.m / total, x.e}));
    }
    log_likelihood_ += static_cast<double>(peak) + static_cast<double>(top) * 0.693147180559945309417232 +
                       __builtin_log(static_cast<double>(total));
  }

  using Int = typename Simd<Real>::Int;
  Model<Real> model_;
  Steps<Real> steps_;
  Message<Real> before_{}, now_{};
  MessageBuffer<Real> before_buffer_, now_buffer_;
  Buffer<Real> log_filter_;
  double log_likelihood_ = 0;
  std::int64_t frames_ = 0;
};

namespace detail {

// Numbers in a row that grows and keeps its contents.
template <typename T>
class Growing {
 public:
  Growing() = default;
  Growing(const Growing&) = delete;
  Growing& operator=(const Growing&) = delete;
  ~Growing() { delete[] data_; }

  // Room for `size` numbers, of which the first `kept` stay.
  void reserve(std::int64_t size, std::int64_t kept) {
    if (size <= size_) return;
    T* larger = new T[static_cast<std::size_t>(size)];
    for (std::int64_t i = 0; i < kept; ++i) larger[i] = data_[i];
    delete[] data_;
    data_ = larger;
    size_ = size;
  }
  void swap(Growing& other) {
    T* const data = data_;
    const std::int64_t size = size_;
    data_ = other.data_;
    size_ = other.size_;
    other.data_ = data;
    other.size_ = size;
  }
  T* data() { return data_; }
  const T* data() const { return data_; }
  std::int64_t size() const { return size_; }

 private:
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

// The paths that survive, as a tree of the frames where they part: at most K leaves and K - 1 branchings.
// Node 0 stands for the time before everything that is not yet committed.
class Survivors {
 public:
  void open(std::int64_t states) {
    states_ = states;
    const std::int64_t capacity = 4 * states + 1;
    node_.reserve(capacity);
    free_.reserve(capacity);
    leaf_.reserve(states);
    next_leaf_.reserve(states);
    reset();
  }

  void reset() {
    free_count_ = 0;
    for (std::int64_t n = 4 * states_; n > 0; --n) free_[free_count_++] = static_cast<std::int32_t>(n);
    node_[0] = {-1, 0, -1, -1, -1};
    for (std::int64_t j = 0; j < states_; ++j) leaf_[j] = 0;
    started_ = false;
  }

  // Frame t: state j comes from origin[j], and survives where alive(j).
  template <typename Alive>
  void grow(std::int64_t t, const std::int32_t* origin, Alive&& alive) {
    for (std::int64_t j = 0; j < states_; ++j) {
      next_leaf_[j] = -1;
      if (!alive(j)) continue;
      const std::int32_t parent = started_ ? leaf_[origin[j]] : 0;
      const std::int32_t n = free_[--free_count_];
      node_[n] = {parent, 0, static_cast<std::int32_t>(j), t, -1};
      ++node_[parent].children;
      next_leaf_[j] = n;
    }
    if (started_) {
      for (std::int64_t i = 0; i < states_; ++i) {
        if (leaf_[i] > 0) prune(leaf_[i]);
      }
    }
    started_ = true;
    for (std::int64_t j = 0; j < states_; ++j) leaf_[j] = next_leaf_[j];
    splice(t);
  }

  // The last frame that all survivors share, and their state in it; -1 if there is none.
  struct Common {
    std::int64_t time;
    std::int32_t state;
  };
  Common common() const {
    if (node_[0].children != 1) return {-1, -1};
    for (std::int64_t j = 0; j < states_; ++j) {
      if (leaf_[j] > 0) {
        const std::int32_t top = below(0, leaf_[j]);
        return {node_[top].time, node_[top].state};
      }
    }
    return {-1, -1};
  }

  // Drops all survivors that leave the path of `best` at the oldest branching; dropped(j) for each.
  template <typename Dropped>
  void decide(std::int64_t t, std::int64_t best, Dropped&& dropped) {
    std::int32_t from = 0;
    if (node_[0].children == 1) {
      from = below(0, leaf_[best]);
      if (from == leaf_[best]) return;
    }
    const std::int32_t kept = below(from, leaf_[best]);
    for (std::int64_t j = 0; j < states_; ++j) {
      if (leaf_[j] > 0 && below(from, leaf_[j]) != kept) {
        dropped(j);
        node_[leaf_[j]].dropped = 1;
      }
    }
    for (std::int64_t j = 0; j < states_; ++j) {
      if (leaf_[j] > 0 && node_[leaf_[j]].dropped == 1) {
        prune(leaf_[j]);
        leaf_[j] = -1;
      }
    }
    for (std::int64_t n = 0; n <= 4 * states_; ++n) node_[n].seen = -1;
    splice(t);
  }

 private:
  struct Node {
    std::int32_t parent;
    std::int32_t children;
    std::int32_t state;
    std::int64_t time;
    std::int64_t seen;
    std::int32_t dropped = 0;
  };

  // The node on the way up from `leaf` whose parent is `ancestor`.
  std::int32_t below(std::int32_t ancestor, std::int32_t leaf) const {
    while (node_[leaf].parent != ancestor) leaf = node_[leaf].parent;
    return leaf;
  }

  // Removes a node without children, and its ancestors that have no other child.
  void prune(std::int32_t n) {
    while (n > 0 && node_[n].children == 0) {
      const std::int32_t parent = node_[n].parent;
      free_[free_count_++] = n;
      --node_[parent].children;
      n = parent;
    }
  }

  // Takes out the nodes with one child, between their parent and that child.
  void splice(std::int64_t t) {
    for (std::int64_t j = 0; j < states_; ++j) {
      std::int32_t n = leaf_[j];
      if (n <= 0) continue;
      for (std::int32_t p = node_[n].parent; p != 0; p = node_[n].parent) {
        if (node_[p].children == 1) {
          node_[n].parent = node_[p].parent;
          free_[free_count_++] = p;
          continue;
        }
        if (node_[p].seen == t) break;
        node_[p].seen = t;
        n = p;
      }
    }
  }

  std::int64_t states_ = 0;
  Buffer<Node> node_;
  Buffer<std::int32_t> free_, leaf_, next_leaf_;
  std::int64_t free_count_ = 0;
  bool started_ = false;
};

}  // namespace detail

// The model as for OnlineFilter. Additions happen in the order of the offline decoder, and the first maximum
// wins: the path is the same to the bit, unless a decision was forced.
template <typename Real>
class OnlineViterbi {
 public:
  // longest_delay: no frame stays open for more than so many frames; -1 for no limit.
  OnlineViterbi(const Model<Real>& model, std::int64_t longest_delay)
      : model_(model), longest_delay_(longest_delay) {
    size_ = padded<Real>(model.states);
    score_.reserve(size_);
    previous_.reserve(size_);
    emission_.reserve(size_);
    origin_.reserve(size_);
    survivors_.open(model.states);
    prepare();
    capacity_ = longest_delay_ < 0 ? 64 : longest_delay_ + 2;
    back_.reserve(capacity_ * model.states, 0);
    reset();
  }

  void reset() {
    frames_ = committed_ = taken_ = forced_ = 0;
    offset_ = 0;
    best_ = -1;
    for (std::int64_t j = 0; j < size_; ++j) previous_[j] = -std::numeric_limits<Real>::infinity();
    survivors_.reset();
  }

  // Takes n frames, `width` numbers apart; writes the state in which the best path ends after each, -1 where
  // there is no path. Returns false, and does nothing, if a number that a frame holds is NaN or +inf.
  bool push(const Real* log_emission, std::int64_t n, std::int64_t width, std::int64_t* best) {
    if (!all_below_infinity(log_emission, n * width)) return false;
    for (std::int64_t t = 0; t < n; ++t) {
      step(log_emission + t * width);
      best[t] = best_;
    }
    return true;
  }

  std::int64_t frames() const { return frames_; }
  // Frames whose state is known for good, and how many of them were not yet taken.
  std::int64_t committed() const { return committed_; }
  std::int64_t waiting() const { return committed_ - taken_; }
  // Decisions that longest_delay forced.
  std::int64_t forced() const { return forced_; }
  // Score of the best path that ends now.
  double log_score() const {
    if (frames_ == 0) return 0;
    return best_ < 0 ? -std::numeric_limits<double>::infinity() : offset_;
  }

  // Hands out the waiting states.
  void take(std::int64_t* states) {
    const std::int64_t n = waiting();
    for (std::int64_t i = 0; i < n; ++i) states[i] = path_.data()[i];
    taken_ = committed_;
  }

  // Ends the stream in its best state: hands out the states of all frames not yet taken, -1 for those that
  // were open where there is no path, and starts anew. Returns the score of the path.
  double finish(const Real* log_final, std::int64_t* states) {
    const std::int64_t n = waiting();
    double score = frames_ == 0 ? 0 : -std::numeric_limits<double>::infinity();
    std::int64_t end = -1;
    Real most = -std::numeric_limits<Real>::infinity();
    for (std::int64_t j = 0; j < model_.states; ++j) {
      const Real x = previous_[j] + (log_final == nullptr ? 0 : log_final[j]);
      end = x > most ? j : end;
      most = x > most ? x : most;
    }
    for (std::int64_t i = 0; i < n; ++i) states[i] = path_.data()[i];
    std::int64_t* open = states + n;
    if (end < 0) {
      for (std::int64_t t = committed_; t < frames_; ++t) open[t - committed_] = -1;
    } else if (frames_ > 0) {
      score = offset_ + static_cast<double>(most);
      trace(frames_ - 1, static_cast<std::int32_t>(end), open);
    }
    reset();
    return score;
  }

 private:
  static constexpr std::int64_t kTile = 4;

  // Weights tile by tile (dense), or slot by slot (sparse).
  void prepare() {
    constexpr Real kNothing = -std::numeric_limits<Real>::infinity();
    constexpr std::int64_t L = kLanes<Real>;
    const std::int64_t K = model_.states;
    if (model_.dense()) {
      weight_.reserve(K * size_);
      for (std::int64_t tile = 0; tile < size_; tile += kTile * L) {
        const std::int64_t width = size_ - tile < kTile * L ? size_ - tile : kTile * L;
        for (std::int64_t i = 0; i < K; ++i) {
          for (std::int64_t l = 0; l < width; ++l) {
            weight_[tile * K + i * width + l] = tile + l < K ? model_.log_weight[i * K + tile + l] : kNothing;
          }
        }
      }
      return;
    }
    const std::int64_t R = model_.slots;
    weight_.reserve(R * size_);
    source_.reserve(R * size_);
    used_.reserve(size_ / L);
    for (std::int64_t v = 0; v < size_ / L; ++v) used_[v] = 0;
    for (std::int64_t j = 0; j < size_; ++j) {
      for (std::int64_t r = 0; r < R; ++r) {
        const bool used = j < K && model_.predecessors[j * R + r] >= 0;
        source_[r * size_ + j] = used ? static_cast<std::int32_t>(model_.predecessors[j * R + r]) : 0;
        weight_[r * size_ + j] = used ? model_.log_weight[j * R + r] : kNothing;
        if (used && used_[j / L] <= r) used_[j / L] = r + 1;
      }
    }
  }

  void step(const Real* frame) {
    constexpr Real kNothing = -std::numeric_limits<Real>::infinity();
    constexpr std::int64_t L = kLanes<Real>;
    const std::int64_t K = model_.states;
    const std::int64_t t = frames_++;
    if (t > 0 && best_ < 0) return;
    for (std::int64_t j = 0; j < size_; ++j) {
      emission_[j] =
          j >= K ? kNothing : frame[model_.emission_index == nullptr ? j : model_.emission_index[j]];
    }
    if (t == 0) {
      for (std::int64_t j = 0; j < size_; ++j) score_[j] = j < K ? model_.log_initial[j] : kNothing;
      for (std::int64_t j = 0; j < size_; ++j) origin_[j] = 0;
    } else if (model_.dense()) {
      for (std::int64_t j = 0; j < size_; j += kTile * L) {
        switch ((size_ - j) / L) {
          case 1:
            best_tile<1>(j);
            break;
          case 2:
            best_tile<2>(j);
            break;
          case 3:
            best_tile<3>(j);
            break;
          default:
            best_tile<kTile>(j);
        }
      }
    } else {
      for (std::int64_t j = 0; j < size_; j += L) best_slot(j);
    }
    Vec<Real> most = splat<Vec<Real>>(kNothing);
    for (std::int64_t j = 0; j < size_; j += L) {
      const Vec<Real> x = load<Vec<Real>>(score_.data() + j) + load<Vec<Real>>(emission_.data() + j);
      store(score_.data() + j, x);
      most = max(most, x);
    }
    const Real shift = largest(most);
    if (shift == kNothing) {
      best_ = -1;
      for (std::int64_t j = 0; j < size_; ++j) previous_[j] = kNothing;
      return;
    }
    for (std::int64_t j = 0; j < size_; j += L) {
      store(previous_.data() + j, load<Vec<Real>>(score_.data() + j) - shift);
    }
    offset_ += static_cast<double>(shift);
    best_ = 0;
    while (previous_[best_] != 0) ++best_;
    remember(t);
    survivors_.grow(t, origin_.data(), [&](std::int64_t j) { return previous_[j] != kNothing; });
    commit();
    while (longest_delay_ >= 0 && frames_ - committed_ > longest_delay_) {
      ++forced_;
      survivors_.decide(t, best_, [&](std::int64_t j) { previous_[j] = kNothing; });
      commit();
    }
  }

  template <int N>
  void best_tile(std::int64_t j) {
    using V = Vec<Real>;
    using I = IntVec<Real>;
    constexpr std::int64_t L = kLanes<Real>;
    const std::int64_t K = model_.states;
    const Real* row = weight_.data() + j * K;
    V best[N];
    I from[N];
    for (int n = 0; n < N; ++n) {
      best[n] = splat<V>(-std::numeric_limits<Real>::infinity());
      from[n] = I{};
    }
    for (std::int64_t i = 0; i < K; ++i, row += N * L) {
      const V x = splat<V>(previous_[i]);
      const I index = splat_int<Real>(static_cast<typename Simd<Real>::Int>(i));
      for (int n = 0; n < N; ++n) {
        const V other = x + load<V>(row + n * L);
        from[n] = other > best[n] ? index : from[n];
        best[n] = max(other, best[n]);
      }
    }
    for (int n = 0; n < N; ++n) {
      store(score_.data() + j + n * L, best[n]);
      store_origin(j + n * L, from[n]);
    }
  }

  void best_slot(std::int64_t j) {
    using V = Vec<Real>;
    using I = IntVec<Real>;
    V best = splat<V>(-std::numeric_limits<Real>::infinity());
    I from{};
    for (std::int64_t r = 0; r < used_[j / kLanes<Real>]; ++r) {
      const std::int32_t* index = source_.data() + r * size_ + j;
      const V other = gather<V>(previous_.data(), index) + load<V>(weight_.data() + r * size_ + j);
      I source{};
      for (int l = 0; l < kLanes<Real>; ++l) source[l] = index[l];
      from = other > best ? source : from;
      best = max(other, best);
    }
    store(score_.data() + j, best);
    store_origin(j, from);
  }

  HMM_INLINE void store_origin(std::int64_t j, IntVec<Real> from) {
    for (int l = 0; l < kLanes<Real>; ++l) origin_[j + l] = static_cast<std::int32_t>(from[l]);
  }

  // Keeps where the states of frame t come from. Frames committed_..t are open.
  void remember(std::int64_t t) {
    const std::int64_t K = model_.states;
    if (t - committed_ >= capacity_) {
      const std::int64_t larger = 2 * capacity_;
      detail::Growing<std::int32_t> to;
      to.reserve(larger * K, 0);
      for (std::int64_t s = committed_; s < t; ++s) {
        const std::int32_t* from = back_.data() + s % capacity_ * K;
        std::int32_t* row = to.data() + s % larger * K;
        for (std::int64_t j = 0; j < K; ++j) row[j] = from[j];
      }
      back_.swap(to);
      capacity_ = larger;
    }
    std::int32_t* row = back_.data() + t % capacity_ * K;
    for (std::int64_t j = 0; j < K; ++j) row[j] = origin_[j];
  }

  // The states of frames committed_..t of the path that is in `state` at t.
  template <typename Out>
  void trace(std::int64_t t, std::int32_t state, Out* out) const {
    for (; t >= committed_; --t) {
      out[t - committed_] = state;
      state = back_.data()[t % capacity_ * model_.states + state];
    }
  }

  void commit() {
    const detail::Survivors::Common shared = survivors_.common();
    if (shared.time < committed_) return;
    const std::int64_t waiting = committed_ - taken_;
    const std::int64_t more = shared.time + 1 - committed_;
    if (waiting + more > path_.size()) path_.reserve(2 * (waiting + more) + 64, waiting);
    trace(shared.time, shared.state, path_.data() + waiting);
    committed_ = shared.time + 1;
  }

  Model<Real> model_;
  std::int64_t longest_delay_ = -1;
  std::int64_t size_ = 0;
  Buffer<Real> score_, previous_, emission_, weight_;
  Buffer<std::int32_t> origin_, source_;
  Buffer<std::int64_t> used_;
  detail::Survivors survivors_;
  detail::Growing<std::int32_t> back_, path_;
  std::int64_t capacity_ = 0;
  std::int64_t frames_ = 0, committed_ = 0, taken_ = 0, forced_ = 0;
  double offset_ = 0;
  std::int64_t best_ = -1;
};

HMM_END_TARGET
