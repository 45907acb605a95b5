// The forward and the backward recursion of one sequence, frame by frame.
#pragma once

#include <cstdint>

#include "hmm/arcs.hpp"
#include "hmm/buffer.hpp"
#include "hmm/extended.hpp"
#include "hmm/model.hpp"
#include "hmm/sparse_sums.hpp"
#include "hmm/sparse_weights.hpp"
#include "hmm/team.hpp"

HMM_BEGIN_TARGET

namespace sparse {

constexpr double kLn2 = 0.693147180559945309417;

// Which frames and states a pass needs.
enum class Need { kForward, kBackward, kBoth };

// Arcs and reach of one table of predecessors.
struct Structure {
  Arcs entering, leaving;
  Reach reach;

  template <typename Real>
  void build(const Model<Real>& m, const std::int64_t* predecessors, Need need) {
    if (need != Need::kBackward) entering.build(m.states, m.slots, predecessors, true);
    if (need != Need::kForward) leaving.build(m.states, m.slots, predecessors, false);
    reach.build(m.states, m.slots, predecessors);
  }
};

// What the sequences of a batch share; the rest is built for each.
template <typename Real>
struct Shared {
  Structure structure;
  Weights<Real> entering, leaving;
  bool has_structure = false;
  bool has_weights = false;

  Shared(const Model<Real>& m, Need need, bool backward_too) {
    const Need build = backward_too ? Need::kBoth : need;
    if (m.batch == 0 || m.predecessor_stride != 0) return;
    structure.build(m, m.predecessors, build);
    has_structure = true;
    if (m.weight_stride != 0 || m.weight_step != 0) return;
    if (build != Need::kBackward) entering.fill(structure.entering, m.log_weight);
    if (build != Need::kForward) leaving.fill(structure.leaving, m.log_weight);
    has_weights = true;
  }
};

// A likelihood in units of a pair of messages: mantissa * 2^exponent.
struct Scaled {
  double mantissa = 0;
  std::int64_t exponent = 0;

  // Adds x * 2^e.
  void add(double x, std::int64_t e) {
    if (x == 0) return;
    if (mantissa == 0) {
      mantissa = x;
      exponent = e;
      return;
    }
    const std::int64_t top = e > exponent ? e : exponent;
    mantissa = __builtin_ldexp(mantissa, shift(exponent - top)) + __builtin_ldexp(x, shift(e - top));
    exponent = top;
  }

 private:
  static int shift(std::int64_t d) { return d < -4000 ? -4000 : static_cast<int>(d); }
};

// Sum over states of a[k] * b[k]; a whole vector is read at the end.
template <typename Real>
Scaled inner_product(const Real* am, const IntOf<Real>* ae, const Real* bm, const IntOf<Real>* be,
                     std::int64_t n) {
  using V = Vec<Real>;
  using I = IntVec<Real>;
  const I nothing = splat_int<Real>(2 * Format<Real>::kZeroExponent);
  I top = nothing;
  const auto product = [&](std::int64_t i) {
    const I meant = lanes_before<Real>(i, n);
    const V p = load<V>(am + i) * load<V>(bm + i);
    const V m = meant ? p : V{};
    return Extended<Real>{m, m == 0 ? nothing : load<I>(ae + i) + load<I>(be + i)};
  };
  for (std::int64_t i = 0; i < n; i += kLanes<Real>) top = max(top, product(i).e);
  const IntOf<Real> highest = largest(top);
  V total{};
  for (std::int64_t i = 0; i < n; i += kLanes<Real>)
    total = total + relative_to<Real>(product(i), splat_int<Real>(highest));
  return {static_cast<double>(sum(total)), highest};
}

// out[k] = offset + log(m[k] * 2^e[k]); a whole vector of m is read at the end.
template <typename Real>
void write_log(const Real* m, const IntOf<Real>* e, std::int64_t n, double offset, Real* out) {
  for (std::int64_t i = 0; i < n; i += kLanes<Real>) {
    Real mantissa[kLanes<Real>];
    store(mantissa, log(load<Vec<Real>>(m + i)));
    const std::int64_t end = n - i < kLanes<Real> ? n - i : kLanes<Real>;
    for (std::int64_t l = 0; l < end; ++l) {
      const double exponent = static_cast<double>(e[i + l]) * kLn2;
      out[i + l] = static_cast<Real>(offset + (exponent + static_cast<double>(mantissa[l])));
    }
  }
}

template <typename Real>
void fill(Real* out, std::int64_t n, Real value) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = value;
}

// One direction's state: the message of the latest frame, and the exponent and base that it is relative to.
template <typename Real>
struct Direction {
  Message<Real> message[2];
  int current = 0;
  IntOf<Real> top = 0;  // greatest exponent in the message
  std::int64_t exponent = 0;
  double base = 0;

  void open(std::int64_t K) {
    message[0].open(K);
    message[1].open(K);
  }
  void start() {
    top = 0;
    exponent = 0;
    base = 0;
  }
  Message<Real>& latest() { return message[current]; }
  // Nothing can be in any state.
  bool dead() const { return top == Format<Real>::kZeroExponent; }
  double offset() const { return static_cast<double>(exponent) * kLn2 + base; }
};

// Reads one sequence after another, keeping its buffers.
template <typename Real>
class Recursion {
 public:
  using Int = IntOf<Real>;
  using V = Vec<Real>;
  using I = IntVec<Real>;

  // Allocates for one model, with room for the messages and scores of `rows` frames. The team shares the
  // chunks of each frame.
  void open(const Model<Real>& model, const Shared<Real>& shared, Team& team, Need need, bool forwards,
            bool backwards, std::int64_t rows) {
    if (model_ != nullptr) return;
    model_ = &model;
    team_ = &team;
    members_.reserve(team.members());
    const std::int64_t chunks = (model.states + Arcs::kChunk - 1) / Arcs::kChunk;
    tops_.reserve(chunks);
    spans_.reserve(chunks);
    shared_ = &shared;
    need_ = need;
    forwards_ = forwards;
    backwards_ = backwards;
    const std::int64_t K = model.states;
    if (forwards) alpha.open(K);
    if (backwards) beta.open(K);
    lo_.reserve(model.frames);
    hi_.reserve(model.frames);
    indexed_ = model.emission_index != nullptr;
    table_ = indexed_ && model.densities <= K;
    pitch_ = padded<Real>(K) + kLanes<Real>;
    width_ = padded<Real>(table_ ? model.densities : K) + kLanes<Real>;
    if (width_ < kSmallTable) width_ = kSmallTable;
    if (table_) {
      for (int member = 0; member < team.members(); ++member) {
        members_[member].score.reserve(Sums<Real>::kRoom);
        members_[member].exponent.reserve(Sums<Real>::kRoom);
      }
    }
    if (indexed_) index_.reserve(pitch_);
    if (indexed_ && !table_) picked_.reserve(pitch_);
    initial_m_.reserve(pitch_);
    initial_e_.reserve(pitch_);
    final_m_.reserve(pitch_);
    final_e_.reserve(pitch_);
    rows_ = rows < 1 ? 1 : rows;
    frames_.reserve(rows_);
    score_.reserve(rows_ * width_);
    score_exponent_.reserve(rows_ * width_);
    if (rows > 0) {
      row_m_.reserve(rows * pitch_);
      row_e_.reserve(rows * pitch_);
      row_exponent_.reserve(rows);
    }
  }

  // Turns to sequence b; false where no path can exist, whatever the scores.
  bool load_sequence(std::int64_t b) {
    const Model<Real>& m = *model_;
    length_ = m.lengths[b];
    emission_ = m.log_emission + b * m.frames * m.densities;
    log_weight_ = m.log_weight + b * m.weight_stride;
    structure_ = &shared_->structure;
    if (!shared_->has_structure) {
      const Need need = forwards_ && backwards_ ? Need::kBoth : forwards_ ? Need::kForward : Need::kBackward;
      own_structure_.build(m, m.predecessors + b * m.predecessor_stride, need);
      structure_ = &own_structure_;
    }
    const std::int32_t fan_in = forwards_ ? structure_->entering.longest_fan() : 0;
    const std::int32_t fan_out = backwards_ ? structure_->leaving.longest_fan() : 0;
    for (int member = 0; member < team_->members(); ++member)
      members_[member].sums.open(fan_in > fan_out ? fan_in : fan_out);
    weights_in_ = &shared_->entering;
    weights_out_ = &shared_->leaving;
    if (!shared_->has_weights) {
      weights_in_ = &own_in_;
      weights_out_ = &own_out_;
      if (m.weight_step == 0) {
        if (forwards_) own_in_.fill(structure_->entering, log_weight_);
        if (backwards_) own_out_.fill(structure_->leaving, log_weight_);
      }
    }
    if (indexed_) {
      const std::int64_t* index = m.emission_index + b * m.index_stride;
      for (std::int64_t k = 0; k < m.states; ++k) index_[k] = static_cast<std::int32_t>(index[k]);
      for (std::int64_t k = m.states; k < pitch_; ++k) index_[k] = 0;
    }
    convert(m.log_initial + b * m.initial_stride, initial_m_.data(), initial_e_.data());
    convert(m.log_final + b * m.final_stride, final_m_.data(), final_e_.data());
    return find_ranges();
  }

  std::int64_t length() const { return length_; }
  std::int64_t lo(std::int64_t t) const { return lo_[t]; }
  std::int64_t hi(std::int64_t t) const { return hi_[t]; }
  const Structure& structure() const { return *structure_; }
  const std::int32_t* index() const { return indexed_ ? index_.data() : nullptr; }
  const Real* final_m() const { return final_m_.data(); }
  const Int* final_e() const { return final_e_.data(); }

  // Forward message of frame t, after that of t - 1; kept in a row, unless that is negative. False where it
  // is zero.
  bool advance(std::int64_t t, std::int64_t row) {
    const Frame<Real>& frame = announce(t, row < 0 ? 0 : row);
    return with_scores(frame, [&](auto scores) { return advance_as(t, row, frame, scores); });
  }

  // Likelihood of all paths, after the last frame.
  Scaled total() {
    const std::int64_t t = length_ - 1;
    return inner_product<Real>(alpha.latest().m() + lo(t), alpha.latest().e() + lo(t), final_m() + lo(t),
                               final_e() + lo(t), hi(t) - lo(t));
  }
  double log_of(Scaled z) const {
    if (z.mantissa == 0) return -static_cast<double>(kInfinity<Real>);
    return __builtin_log(z.mantissa) + static_cast<double>(z.exponent) * kLn2 + alpha.offset();
  }

  // Keeps the latest forward message, of frame t, as one of K numbers; or goes back to it.
  void save(std::int64_t t, Real* m, Int* e) {
    copy(alpha.latest().m(), m, lo(t), hi(t));
    copy(alpha.latest().e(), e, lo(t), hi(t));
  }
  void restore(std::int64_t t, const Real* m, const Int* e) {
    alpha.start();
    Message<Real>& message = alpha.latest();
    message.cover(lo(t), hi(t));
    copy(m, message.m(), lo(t), hi(t));
    copy(e, message.e(), lo(t), hi(t));
    alpha.top = Format<Real>::kZeroExponent;
    for (std::int64_t k = lo(t); k < hi(t); ++k) alpha.top = e[k] > alpha.top ? e[k] : alpha.top;
  }
  // The latest forward message into a row, with the scores of its frame.
  void keep(std::int64_t t, std::int64_t row) {
    prepare(t, row);
    copy(alpha.latest().m(), row_m(row), lo(t), hi(t));
    copy(alpha.latest().e(), row_e(row), lo(t), hi(t));
    row_exponent_[row] = alpha.exponent;
  }
  Real* row_m(std::int64_t row) { return row_m_.data() + row * pitch_; }
  Int* row_e(std::int64_t row) { return row_e_.data() + row * pitch_; }
  std::int64_t row_exponent(std::int64_t row) const { return row_exponent_[row]; }

  // What follows frame t: for every chunk c of states, visit(c, member, begin, end, m, e) with the sums over
  // what leaves the states begin..end-1; m and e are those of state `begin`, in units of the latest backward
  // message. Members of the team visit chunks at the same time.
  template <typename Visit>
  void follow(std::int64_t t, Visit&& visit) {
    const bool last = t == length_ - 1;
    share_chunks(t, [&](std::int64_t c, std::int64_t begin, std::int64_t end, int member) {
      if (last) {
        visit(c, member, begin, end, final_m_.data() + begin, final_e_.data() + begin);
      } else {
        const Chunk& chunk = structure_->leaving.chunk(static_cast<std::int32_t>(c));
        Sums<Real>& sums = members_[member].sums;
        sums.form(structure_->leaving, *weights_out_, chunk, begin, end, beta.latest());
        visit(c, member, begin, end, sums.m() + (begin - chunk.begin), sums.e() + (begin - chunk.begin));
      }
    });
  }

  // Weights of the step from t to t + 1.
  void prepare_leaving(std::int64_t t) {
    if (model_->weight_step != 0 && t + 1 < length_)
      own_out_.fill(structure_->leaving, log_weight_ + t * model_->weight_step);
  }

  // Backward message of frame t times the scores of that frame, after that of t + 1. `visit` sees the message
  // without the scores, as in follow(). False where it is zero.
  template <typename Visit>
  bool retreat(std::int64_t t, std::int64_t row, Visit&& visit) {
    const Frame<Real>& frame = frames_[row];
    return with_scores(frame, [&](auto scores) {
      Message<Real>& to = beta.message[1 - beta.current];
      to.cover(lo(t), hi(t));
      const I shift = splat_int<Real>(beta.top);
      follow(t, [&](std::int64_t c, int member, std::int64_t begin, std::int64_t end, const Real* m,
                    const Int* e) {
        visit(c, begin, end, m, e);
        tops_[c] = multiply(members_[member], scores, begin, end, m, e, shift, to, nullptr, nullptr);
      });
      finish(beta, t, frame);
      return !beta.dead();
    });
  }

  // Scores of frame t, kept in a row.
  void prepare(std::int64_t t, std::int64_t row) {
    const Frame<Real>& frame = announce(t, row);
    if (table_) return;
    share_chunks(t, [&](std::int64_t, std::int64_t begin, std::int64_t end, int) {
      frame.convert(score_of_, begin, end);
    });
  }

  // Calls work(c, begin, end, member) for the chunks of the states that frame t can be in, of which it has
  // begin..end-1: by the team where there are many.
  template <typename Work>
  void share_chunks(std::int64_t t, Work&& work) {
    constexpr std::int64_t kLeastShared = 4096;
    const std::int64_t lo = lo_[t], hi = hi_[t];
    if (lo >= hi) return;
    const std::int64_t first = lo / Arcs::kChunk;
    const std::int64_t chunks = (hi - 1) / Arcs::kChunk + 1 - first;
    const auto one = [&](std::int64_t item, int member) {
      const std::int64_t begin = (first + item) * Arcs::kChunk;
      const std::int64_t end = begin + Arcs::kChunk;
      work(first + item, begin > lo ? begin : lo, end < hi ? end : hi, member);
    };
    if (hi - lo >= kLeastShared) {
      team_->share(chunks, one);
    } else {
      for (std::int64_t item = 0; item < chunks; ++item) one(item, 0);
    }
  }
  // The same, on one thread and in order.
  template <typename Work>
  void each_chunk(std::int64_t t, Work&& work) const {
    if (lo_[t] >= hi_[t]) return;
    for (std::int64_t c = lo_[t] / Arcs::kChunk; c <= (hi_[t] - 1) / Arcs::kChunk; ++c) work(c);
  }

  const Weights<Real>& leaving_weights() const { return *weights_out_; }
  const Chunk& leaving_chunk(std::int64_t c) const {
    return structure_->leaving.chunk(static_cast<std::int32_t>(c));
  }

  Direction<Real> alpha, beta;

 private:
  // What a member of the team needs.
  struct Member {
    Sums<Real> sums;
    Buffer<Real> score;  // of a chunk's states
    Buffer<Int> exponent;
  };

  // The same, but the scores of single states must be converted before they are used, chunk by chunk.
  const Frame<Real>& announce(std::int64_t t, std::int64_t row) {
    Frame<Real>& frame = frames_[row];
    frame.value = score_.data() + row * width_;
    frame.exponent = score_exponent_.data() + row * width_;
    const Real* x = emission_ + t * model_->densities;
    if (table_) {
      frame.open(span(x, model_->densities));
      frame.convert(x, 0, model_->densities);
      return frame;
    }
    if (indexed_) {
      for (std::int64_t k = lo(t); k < hi(t); ++k) picked_[k] = x[index_[k]];
      x = picked_.data();
    }
    score_of_ = x;
    share_chunks(t, [&](std::int64_t c, std::int64_t begin, std::int64_t end, int) {
      spans_[c] = span(x + begin, end - begin);
    });
    Span<Real> scores;
    each_chunk(t, [&](std::int64_t c) { scores.add(spans_[c]); });
    frame.open(scores);
    return frame;
  }

  template <typename T>
  static void copy(const T* from, T* to, std::int64_t begin, std::int64_t end) {
    if (begin < end)
      __builtin_memcpy(to + begin, from + begin, static_cast<std::size_t>(end - begin) * sizeof(T));
  }

  void convert(const Real* log_value, Real* m, Int* e) {
    const std::int64_t K = model_->states;
    for (std::int64_t k = 0; k < K; k += kLanes<Real>) {
      const Extended<Real> x =
          exp_extended(k + kLanes<Real> <= K ? load<V>(log_value + k)
                                             : load_first<V>(log_value + k, K - k, -kInfinity<Real>));
      store(m + k, x.m);
      store(e + k, x.e);
    }
    for (std::int64_t k = padded<Real>(K); k < pitch_; ++k) {
      m[k] = 0;
      e[k] = Format<Real>::kZeroExponent;
    }
  }

  // States of each frame that may be on a path.
  bool find_ranges() {
    if (length_ == 0) return true;
    const auto K = static_cast<std::int32_t>(model_->states);
    const auto used = [&](const Real* m, std::int32_t& lo, std::int32_t& hi) {
      lo = 0;
      hi = K;
      while (lo < hi && m[lo] == 0) ++lo;
      while (lo < hi && m[hi - 1] == 0) --hi;
    };
    std::int32_t lo = 0, hi = K;
    if (need_ != Need::kBackward) {
      used(initial_m_.data(), lo, hi);
      for (std::int64_t t = 0; t < length_; ++t) {
        if (t > 0) structure_->reach.after(lo, hi);
        lo_[t] = lo;
        hi_[t] = hi;
      }
    } else {
      for (std::int64_t t = 0; t < length_; ++t) {
        lo_[t] = 0;
        hi_[t] = K;
      }
    }
    if (need_ != Need::kForward) {
      used(final_m_.data(), lo, hi);
      for (std::int64_t t = length_ - 1; t >= 0; --t) {
        if (t < length_ - 1) structure_->reach.before(lo, hi);
        lo_[t] = lo > lo_[t] ? lo : lo_[t];
        hi_[t] = hi < hi_[t] ? hi : hi_[t];
      }
    }
    bool possible = true;
    for (std::int64_t t = 0; t < length_; ++t) {
      if (lo_[t] < hi_[t]) continue;
      lo_[t] = hi_[t] = 0;
      possible = false;
    }
    return possible;
  }

  template <typename Work>
  auto with_scores(const Frame<Real>& frame, Work&& work) {
    if (!table_) return with_source<Source::kDirect>(frame, work);
    if constexpr (kLooksUpInRegisters<Real>) {
      if (model_->densities <= kSmallTable) return with_source<Source::kSmall>(frame, work);
    }
    return with_source<Source::kTable>(frame, work);
  }
  template <Source source, typename Work>
  auto with_source(const Frame<Real>& frame, Work&& work) {
    const std::int32_t* index = table_ ? index_.data() : nullptr;
    const std::int64_t P = model_->densities;
    if (frame.wide) return work(Scores<Real, true, source>{frame.value, frame.exponent, index, P});
    return work(Scores<Real, false, source>{frame.value, frame.exponent, index, P});
  }

  // Message of the states begin..end-1: m * score * 2^(e - shift), also into a row if there is one.
  // Returns the greatest exponent.
  template <bool kWide, Source source>
  HMM_INLINE Int multiply(Member& member, const Scores<Real, kWide, source>& scores, std::int64_t begin,
                          std::int64_t end, const Real* m, const Int* e, I shift, Message<Real>& to,
                          Real* row_m, Int* row_e) {
    if constexpr (source == Source::kTable) {
      // First into a table of the chunk's states: a vector gathered lane by lane would wait for each.
      Real* value = member.score.data() - begin;
      for (std::int64_t j = begin; j < end; ++j) value[j] = scores.value[scores.index[j]];
      Int* exponent = member.exponent.data() - begin;
      if constexpr (kWide) {
        for (std::int64_t j = begin; j < end; ++j) exponent[j] = scores.exponent[scores.index[j]];
      }
      return multiply(member, Scores<Real, kWide, Source::kDirect>{value, exponent, nullptr, 0}, begin, end,
                      m, e, shift, to, row_m, row_e);
    }
    I top = splat_int<Real>(Format<Real>::kZeroExponent);
    Real* to_m = to.m();
    Int* to_e = to.e();
    const auto product = [&](std::int64_t j, const Extended<Real>& score) {
      I exponent = load<I>(e + (j - begin)) - shift;
      if constexpr (kWide) exponent = exponent + score.e;
      return Extended<Real>{load<V>(m + (j - begin)) * score.m, exponent};
    };
    std::int64_t j = begin;
    for (; j + kLanes<Real> <= end; j += kLanes<Real>) {
      const Extended<Real> y = product(j, scores.at(j));
      const Extended<Real> x = extend<Real>(y.m, y.e);
      store(to_m + j, x.m);
      store(to_e + j, x.e);
      if (row_m != nullptr) {
        store(row_m + j, x.m);
        store(row_e + j, x.e);
      }
      top = max(top, x.e);
    }
    if (j < end) {
      // What lies behind belongs to another chunk, perhaps to another thread.
      const std::int64_t n = end - j;
      const Extended<Real> y = product(j, scores.first(j, n));
      const Extended<Real> x = extend<Real>(lanes_before<Real>(j, end) ? y.m : V{}, y.e);
      store_first(to_m + j, x.m, n);
      store_first(to_e + j, x.e, n);
      if (row_m != nullptr) {
        store_first(row_m + j, x.m, n);
        store_first(row_e + j, x.e, n);
      }
      top = max(top, x.e);
    }
    return largest(top);
  }

  void finish(Direction<Real>& direction, std::int64_t t, const Frame<Real>& frame) {
    direction.current = 1 - direction.current;
    direction.exponent += direction.top + frame.scale;
    direction.base += frame.base;
    direction.top = Format<Real>::kZeroExponent;
    each_chunk(t,
               [&](std::int64_t c) { direction.top = tops_[c] > direction.top ? tops_[c] : direction.top; });
  }

  template <typename AnyScores>
  bool advance_as(std::int64_t t, std::int64_t row, const Frame<Real>& frame, const AnyScores& scores) {
    if (t == 0) alpha.start();
    if (t > 0 && model_->weight_step != 0)
      own_in_.fill(structure_->entering, log_weight_ + (t - 1) * model_->weight_step);
    const Message<Real>& from = alpha.latest();
    Message<Real>& to = alpha.message[1 - alpha.current];
    to.cover(lo(t), hi(t));
    Real* kept_m = row < 0 ? nullptr : row_m(row);
    Int* kept_e = row < 0 ? nullptr : row_e(row);
    const I shift = splat_int<Real>(alpha.top);
    share_chunks(t, [&](std::int64_t c, std::int64_t begin, std::int64_t end, int member) {
      Sums<Real>& sums = members_[member].sums;
      const Real* m = initial_m_.data() + begin;
      const Int* e = initial_e_.data() + begin;
      if (t > 0) {
        const Chunk& chunk = structure_->entering.chunk(static_cast<std::int32_t>(c));
        sums.form(structure_->entering, *weights_in_, chunk, begin, end, from);
        m = sums.m() + (begin - chunk.begin);
        e = sums.e() + (begin - chunk.begin);
      }
      if (!table_) frame.convert(score_of_, begin, end);
      tops_[c] = multiply(members_[member], scores, begin, end, m, e, shift, to, kept_m, kept_e);
    });
    finish(alpha, t, frame);
    if (row >= 0) row_exponent_[row] = alpha.exponent;
    return !alpha.dead();
  }

  const Model<Real>* model_ = nullptr;
  Team* team_ = nullptr;
  const Shared<Real>* shared_ = nullptr;
  Need need_ = Need::kBoth;
  bool forwards_ = false, backwards_ = false, indexed_ = false, table_ = false;
  std::int64_t pitch_ = 0, width_ = 0, rows_ = 0;

  std::int64_t length_ = 0;
  const Real* emission_ = nullptr;
  const Real* log_weight_ = nullptr;
  const Structure* structure_ = nullptr;
  const Weights<Real>* weights_in_ = nullptr;
  const Weights<Real>* weights_out_ = nullptr;
  Structure own_structure_;
  Weights<Real> own_in_, own_out_;

  Buffer<std::int32_t> lo_, hi_, index_;
  Array<Member> members_;
  const Real* score_of_ = nullptr;  // each state's score in the frame announced
  Buffer<Span<Real>> spans_;        // of the chunks
  Buffer<Int> tops_;                // the greatest exponents of the chunks
  Buffer<Real> initial_m_, final_m_, score_, row_m_, picked_;
  Buffer<Int> initial_e_, final_e_, score_exponent_, row_e_;
  Buffer<std::int64_t> row_exponent_;
  Buffer<Frame<Real>> frames_;
};

}  // namespace sparse

HMM_END_TARGET
