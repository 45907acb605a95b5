// Forward and backward messages of a block together: posteriors, expected transitions, and the gradient,
// which is both.
//
//   p(z_t = i | y)                 = alpha_t(i) beta_t(i) / n_t,             n_t = sum_i alpha_t(i) beta_t(i)
//   p(z_t = i, z_{t+1} = j | y)    = alpha_t(i) a(i, j) v_{t+1}(j) / n_t,    v = emission * beta
//
// The second, summed over t, is a product of matrices: many frames' alpha / n and v, then once times a.
#pragma once

#include <cstdint>
#include <cstring>

#include "hmm/dense_pass.hpp"

HMM_BEGIN_TARGET

namespace dense {

// What is wanted; null where it is not.
template <typename Real>
struct Wanted {
  Real* log_likelihood = nullptr;   // (B,)
  const Real* upstream = nullptr;   // (B,) weights of the sequences; null: 1
  Real* state = nullptr;            // (B, T, K) posteriors
  Real* density = nullptr;          // (B, T, P) posteriors, summed over the states that read a density
  bool counts = false;              // expected transitions
  bool counts_by_sequence = false;  // ... a table for each sequence, not for all together
  Real* count = nullptr;            // where they go if there is one table for each sequence or each step
  std::int64_t count_stride = 0;    // from one sequence to the next
  Real* first = nullptr;            // (B, K) posteriors of the first frames, if not summed
  Real* last = nullptr;             // (B, K) ... of the last frames
  bool sum_first = false;
  bool sum_last = false;
  const Real* mantissa = nullptr;  // (B, T, K) forward messages, if they were kept
  const IntOf<Real>* exponent = nullptr;
  bool checkpoint = false;  // little memory
};

// Sums over several sequences.
template <typename Real>
struct Sums {
  Buffer<double> first, last, pairs, exact;
  bool any_pairs = false;
  bool any_exact = false;
};

// Bytes of messages above which a block keeps checkpoints only.
constexpr std::int64_t kMostBytes = std::int64_t{1} << 26;
// Bytes of counts that a block may hold.
constexpr std::int64_t kMostCountBytes = std::int64_t{1} << 24;
// Products of messages that are summed in Real before they are added in double.
constexpr std::int64_t kChunk = 128;

template <typename Real>
std::int64_t smoothing_rows(const Model<Real>& m, const Wanted<Real>& wanted) {
  std::int64_t rows = most_rows(m);
  if (wanted.counts && wanted.counts_by_sequence && m.weight_step == 0) {
    const std::int64_t bytes = m.states * padded<Real>(m.states) * 8;
    while (rows > 1 && rows * bytes > kMostCountBytes) rows /= 2;
  }
  return rows;
}

template <typename Real>
class Smoother {
 public:
  using V = Vec<Real>;
  using I = IntVec<Real>;
  using Int = IntOf<Real>;
  static constexpr std::int64_t kLane = kLanes<Real>;

  void open(const Model<Real>& m, const Wanted<Real>& wanted, const Table<Real>* forward,
            const Table<Real>* backward, std::int64_t rows, Team& team) {
    model_ = &m;
    team_ = &team;
    wanted_ = &wanted;
    block_.open(m, rows);
    forward_.open(m, forward, rows, team);
    transitions_.open(m, true, backward, team);
    rows_.open(rows, m.states, team);
    width_ = padded<Real>(m.states);
    alive_.reserve(rows);
    gamma_.reserve(width_);
    if (wanted.mantissa == nullptr) {
      segment_ = m.frames;
      if (wanted.checkpoint ||
          rows * m.frames * m.states * static_cast<std::int64_t>(sizeof(Real)) > kMostBytes) {
        segment_ = 1;
        while (segment_ * segment_ < m.frames) ++segment_;
      }
      if (segment_ < 1) segment_ = 1;
      // Without checkpoints, the posteriors replace the messages where these stand.
      in_place_ = segment_ >= m.frames && wanted.state != nullptr;
      if (!in_place_) kept_mantissa_.reserve(rows * segment_ * m.states);
      kept_exponent_.reserve(rows * segment_ * m.states);
      const std::int64_t checkpoints = (m.frames + segment_ - 1) / segment_;
      if (checkpoints > 1) {
        point_mantissa_.reserve(rows * checkpoints * m.states);
        point_exponent_.reserve(rows * checkpoints * m.states);
      }
    }
    if (wanted.counts && m.weight_step == 0) {
      const std::int64_t accumulators = wanted.counts_by_sequence ? rows : 1;
      pitch_ = rows_.pitch();
      chunk_a_.reserve(accumulators * kChunk * pitch_);
      chunk_b_.reserve(accumulators * kChunk * pitch_);
      chunk_size_.reserve(accumulators);
      if (wanted.counts_by_sequence) own_.reserve(rows);
    }
  }

  // Sums over sequences are added to `sums`.
  void smooth(const std::int64_t* sequences, std::int64_t rows, Sums<Real>& sums) {
    block_.take(sequences, rows);
    sums_ = &sums;
    const std::int64_t longest = block_.longest();
    for (std::int64_t r = 0; r < rows; ++r) alive_[r] = true;
    std::int64_t segments = 1;
    if (wanted_->mantissa == nullptr) {
      segments = (longest + segment_ - 1) / segment_;
      first_frame_ = 0;
      const bool all = segments <= 1;
      forward_.run(block_, 0, longest, [&](std::int64_t r, std::int64_t t) {
        if (all) keep(r, t);
        if (!all && (t + 1) % segment_ == 0) checkpoint(r, (t + 1) / segment_);
        if (t + 1 == block_.length(r)) finish(r, forward_.log_likelihood(r, block_.final(r)));
      });
    } else {
      for (std::int64_t r = 0; r < rows; ++r) {
        const std::int64_t length = block_.length(r);
        if (length > 0) finish(r, forward_.total(kept(r, length - 1), 0, block_.final(r)));
      }
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      if (block_.length(r) == 0) finish(r, 0.0);
      clear(r, block_.length(r));
    }
    open_counts(rows);
    for (std::int64_t s = segments - 1; s >= 0; --s) {
      std::int64_t begin = 0;
      std::int64_t end = longest;
      if (segments > 1) {
        begin = s * segment_;
        end = begin + segment_ < longest ? begin + segment_ : longest;
        first_frame_ = begin;
        if (begin > 0) {
          for (std::int64_t r = 0; r < block_.active(begin); ++r) take_back(r, s);
        }
        forward_.run(block_, begin, end, [&](std::int64_t r, std::int64_t t) { keep(r, t); });
      }
      for (std::int64_t t = end - 1; t >= begin; --t) frame(t);
    }
    close_counts(rows);
    for (std::int64_t r = 0; r < rows; ++r) {
      if (!alive_[r]) clear(r, 0);
    }
  }

  // Makes `size` zeros.
  static void reserve_counts(Buffer<double>& counts, std::int64_t size, Team& team) {
    constexpr std::int64_t kSlice = 1 << 15;
    counts.reserve(size);
    team.share((size + kSlice - 1) / kSlice, [&](std::int64_t slice, int) {
      const std::int64_t begin = slice * kSlice;
      const std::int64_t n = size - begin < kSlice ? size - begin : kSlice;
      std::memset(static_cast<void*>(counts.data() + begin), 0, static_cast<std::size_t>(n) * sizeof(double));
    });
  }

  // Row i of the table of counts, from the sums of `parts` sums of pairs: rounds once. `log_weight` is the
  // table that was counted.
  static void write_counts(const Sums<Real>* sums, std::int64_t parts, const Real* log_weight, std::int64_t i,
                           std::int64_t states, Int largest_exponent, Real* to) {
    const std::int64_t width = padded<Real>(states);
    constexpr Real kNothing = -std::numeric_limits<Real>::infinity();
    for (std::int64_t j = 0; j < states; j += kLane) {
      const std::int64_t n = lanes_from<Real>(j, states);
      const V z = relative_to<Real>(exp_extended(load_first<V>(log_weight + i * states + j, n, kNothing)),
                                    splat_int<Real>(largest_exponent));
      for (std::int64_t l = 0; l < n; ++l) {
        double total = 0;
        for (std::int64_t part = 0; part < parts; ++part) {
          double value = 0;
          if (sums[part].any_pairs) value = sums[part].pairs[i * width + j + l] * static_cast<double>(z[l]);
          if (sums[part].any_exact) value += sums[part].exact[i * states + j + l];
          total += value;
        }
        to[i * states + j + l] = static_cast<Real>(total);
      }
    }
  }

 private:
  // The forward message of frame t, which was kept.
  Numbers<Real> kept(std::int64_t r, std::int64_t t) const {
    const std::int64_t K = model_->states;
    const std::int64_t output = (block_.sequence(r) * model_->frames + t) * K;
    const std::int64_t place = (r * segment_ + t - first_frame_) * K;
    const bool given = wanted_->mantissa != nullptr;
    const Real* mantissa = given       ? wanted_->mantissa + output
                           : in_place_ ? wanted_->state + output
                                       : kept_mantissa_.data() + place;
    const Int* exponent = given ? wanted_->exponent + output : kept_exponent_.data() + place;
    return {mantissa, has_exponents(mantissa) ? exponent : nullptr, K};
  }
  void keep(std::int64_t r, std::int64_t t) {
    const std::int64_t K = model_->states;
    const std::int64_t place = (r * segment_ + t - first_frame_) * K;
    Real* mantissa = in_place_ ? wanted_->state + (block_.sequence(r) * model_->frames + t) * K
                               : kept_mantissa_.data() + place;
    forward_.rows().save(r, mantissa, kept_exponent_.data() + place);
  }
  // Where the message before segment s is kept.
  std::int64_t point(std::int64_t r, std::int64_t s) const {
    return (r * ((model_->frames + segment_ - 1) / segment_) + s - 1) * model_->states;
  }
  void checkpoint(std::int64_t r, std::int64_t s) {
    if (s * segment_ >= model_->frames) return;
    forward_.rows().save(r, point_mantissa_.data() + point(r, s), point_exponent_.data() + point(r, s));
  }
  void take_back(std::int64_t r, std::int64_t s) {
    forward_.rows().restore(r, point_mantissa_.data() + point(r, s), point_exponent_.data() + point(r, s));
  }

  void finish(std::int64_t r, double log_likelihood) {
    alive_[r] = log_likelihood > -std::numeric_limits<double>::infinity();
    if (wanted_->log_likelihood != nullptr)
      wanted_->log_likelihood[block_.sequence(r)] = static_cast<Real>(log_likelihood);
  }

  // Zeros in the frames from t on, and in the rows of a sequence that has none.
  void clear(std::int64_t r, std::int64_t t) {
    const std::int64_t b = block_.sequence(r);
    const std::int64_t rest = model_->frames - t;
    const std::int64_t K = model_->states;
    const std::int64_t P = model_->densities;
    if (wanted_->state != nullptr) fill(wanted_->state + (b * model_->frames + t) * K, rest * K, Real{});
    if (wanted_->density != nullptr) fill(wanted_->density + (b * model_->frames + t) * P, rest * P, Real{});
    if (t != 0) return;
    if (wanted_->first != nullptr) fill(wanted_->first + b * K, K, Real{});
    if (wanted_->last != nullptr) fill(wanted_->last + b * K, K, Real{});
  }

  // Frame t of every row that has it: posterior, counts of the step after it, and the message before it.
  void frame(std::int64_t t) {
    const std::int64_t K = model_->states;
    const std::int64_t active = block_.active(t);
    const std::int64_t before = block_.active(t + 1);
    const Table<Real>* table = nullptr;
    if (before > 0) {
      table = &transitions_.at(block_.sequence(0), t);
      rows_.advance(*table, 0, before);
    }
    for (std::int64_t r = before; r < active; ++r) rows_.start(r, block_.final(r));
    for (std::int64_t r = 0; r < active; ++r) {
      const Table<Real>* own = r < before ? table : nullptr;
      if (alive_[r]) {
        const std::int64_t b = block_.sequence(r);
        Real* out = wanted_->state != nullptr ? wanted_->state + (b * model_->frames + t) * K : gamma_.data();
        posterior(r, t, own, wanted_->upstream == nullptr ? Real{1} : wanted_->upstream[b], out);
        distribute(r, t, out);
      }
      if (t > 0) rows_.read(r, block_.emission(r, t), block_.index(r), -1);
    }
    if (t > 0) rows_.emit(active, table);
  }

  void posterior(std::int64_t r, std::int64_t t, const Table<Real>* table, Real scale, Real* out) {
    const Numbers<Real> alpha = kept(r, t);
    fetch_ahead(alpha.mantissa, model_->states, -1);
    if (out != alpha.mantissa && out != gamma_.data()) fetch_ahead(out, model_->states, -1);
    Real* pair = nullptr;
    std::int64_t accumulator = 0;
    if (wanted_->counts && table != nullptr && model_->weight_step == 0) {
      accumulator = wanted_->counts_by_sequence ? r : 0;
      if (chunk_size_[accumulator] == kChunk) flush(accumulator);
      pair = chunk_a_.data() + (accumulator * kChunk + chunk_size_[accumulator]) * pitch_;
    }
    if (alpha.exponent == nullptr && !rows_.own_exponents(r)) {
      bool enough;
      switch (width_ / kLane) {
        case 1:
          enough = posterior_short<1>(alpha.mantissa, rows_.sums(r), table->relative(), scale, out, pair);
          break;
        case 2:
          enough = posterior_short<2>(alpha.mantissa, rows_.sums(r), table->relative(), scale, out, pair);
          break;
        case 3:
          enough = posterior_short<3>(alpha.mantissa, rows_.sums(r), table->relative(), scale, out, pair);
          break;
        case 4:
          enough = posterior_short<4>(alpha.mantissa, rows_.sums(r), table->relative(), scale, out, pair);
          break;
        default:
          enough = posterior_long(alpha.mantissa, rows_.sums(r), table->relative(), scale, out, pair);
          break;
      }
      if (enough) {
        if (pair != nullptr) push(accumulator, r);
        if (wanted_->counts && model_->weight_step != 0) count_exactly_after(r, t, alpha, table, scale);
        return;
      }
    }
    posterior_exactly(r, t, alpha, table, scale, out, pair, accumulator);
  }

  template <int kVectors>
  HMM_INLINE bool posterior_short(const Real* alpha, const Real* sum, const Real* relative, Real scale,
                                  Real* out, Real* pair) {
    const std::int64_t last = model_->states - (kVectors - 1) * kLane;
    V a[kVectors];
    V g[kVectors];
    V total{};
    for (int v = 0; v < kVectors; ++v) {
      a[v] = v + 1 < kVectors ? load<V>(alpha + v * kLane) : load_first<V>(alpha + v * kLane, last, Real{});
      g[v] = a[v] * load<V>(sum + v * kLane) * load<V>(relative + v * kLane);
      total = total + g[v];
    }
    const Real n = hmm::sum(total);
    if (!(n >= Limits<Real>::kLeastSum)) return false;
    const Real factor = scale / n;
    for (int v = 0; v < kVectors; ++v) {
      if (pair != nullptr) store(pair + v * kLane, a[v] * factor);
      if (v + 1 < kVectors) {
        store(out + v * kLane, g[v] * factor);
      } else {
        store_first(out + v * kLane, g[v] * factor, last);
      }
    }
    return true;
  }

  bool posterior_long(const Real* alpha, const Real* sum, const Real* relative, Real scale, Real* out,
                      Real* pair) {
    const std::int64_t K = model_->states;
    V total{};
    Real* gamma = product();
    for (std::int64_t j = 0; j < K; j += kLane) {
      const V a = load_first<V>(alpha + j, lanes_from<Real>(j, K), Real{});
      const V g = a * load<V>(sum + j) * load<V>(relative + j);
      if (pair != nullptr) store(pair + j, a);
      store(gamma + j, g);
      total = total + g;
    }
    const Real n = hmm::sum(total);
    if (!(n >= Limits<Real>::kLeastSum)) return false;
    const Real factor = scale / n;
    for (std::int64_t j = 0; j < K; j += kLane) {
      if (pair != nullptr) store(pair + j, load<V>(pair + j) * factor);
      store_first(out + j, load<V>(gamma + j) * factor, lanes_from<Real>(j, K));
    }
    return true;
  }

  // The same in extended numbers, where a message is wide or the two hardly meet.
  void posterior_exactly(std::int64_t r, std::int64_t t, Numbers<Real> alpha, const Table<Real>* table,
                         Real scale, Real* out, Real* pair, std::int64_t accumulator) {
    const std::int64_t K = model_->states;
    Real* gamma = product();
    Real n;
    const Int exponent = exact_products(alpha, rows_.sum_numbers(r, table), gamma, &n);
    const Real factor = scale / n;
    if (wanted_->counts && table != nullptr) {
      // The exponent of the sum relative to the largest numbers of alpha, of v and of the table.
      const Int sum_place = exponent - table->largest_exponent();
      if (pair != nullptr && sum_place >= -kMostPairExponent) {
        const V correction = power_of_two<Real>(splat_int<Real>(-sum_place));
        for (std::int64_t j = 0; j < K; j += kLane) {
          store(pair + j, relative_to<Real>(alpha.at(j), I{}) * correction * factor);
        }
        push(accumulator, r);
      } else {
        count_exactly(r, t, alpha, exponent, factor);
      }
    }
    for (std::int64_t j = 0; j < K; j += kLane)
      store_first(out + j, load<V>(gamma + j) * factor, lanes_from<Real>(j, K));
  }

  void count_exactly_after(std::int64_t r, std::int64_t t, Numbers<Real> alpha, const Table<Real>* table,
                           Real scale) {
    Real n;
    const Int exponent = exact_products(alpha, rows_.sum_numbers(r, table), product(), &n);
    count_exactly(r, t, alpha, exponent, scale / n);
  }

  // Adds alpha(i) a(i, j) v(j) 2^-exponent * factor to the counts, arc by arc.
  void count_exactly(std::int64_t r, std::int64_t t, Numbers<Real> alpha, Int exponent, Real factor) {
    const std::int64_t K = model_->states;
    const std::int64_t b = block_.sequence(r);
    const Real* log_weight = model_->log_weight + b * model_->weight_stride + t * model_->weight_step;
    if (model_->weight_step != 0) {
      add_exactly(r, log_weight, alpha, exponent, factor,
                  wanted_->count + b * wanted_->count_stride + t * K * K);
      return;
    }
    Sums<Real>& sums = wanted_->counts_by_sequence ? own_[r] : *sums_;
    if (!sums.any_exact) reserve_counts(sums.exact, K * K, *team_);
    sums.any_exact = true;
    add_exactly(r, log_weight, alpha, exponent, factor, sums.exact.data());
  }

  template <typename Count>
  void add_exactly(std::int64_t r, const Real* log_weight, Numbers<Real> alpha, Int exponent, Real factor,
                   Count* count) {
    const std::int64_t K = model_->states;
    const Numbers<Real> after = rows_.message(r);
    constexpr Real kNothing = -std::numeric_limits<Real>::infinity();
    for (std::int64_t i = 0; i < K; ++i) {
      if (alpha.mantissa[i] == 0) continue;
      const Extended<Real> source = alpha.each(i);
      for (std::int64_t j = 0; j < K; j += kLane) {
        const std::int64_t n = lanes_from<Real>(j, K);
        const Extended<Real> arc = exp_extended(load_first<V>(log_weight + i * K + j, n, kNothing));
        const V value =
            relative_to<Real>(normalized(normalized(source * arc) * after.at(j)), splat_int<Real>(exponent)) *
            factor;
        for (std::int64_t l = 0; l < n; ++l) count[i * K + j + l] += static_cast<Count>(value[l]);
      }
    }
  }

  // The pair's first half is in the chunk; the second is the message that the row has now.
  void push(std::int64_t accumulator, std::int64_t r) {
    Real* to = chunk_b_.data() + (accumulator * kChunk + chunk_size_[accumulator]) * pitch_;
    std::memcpy(to, rows_.near(r), static_cast<std::size_t>(width_) * sizeof(Real));
    ++chunk_size_[accumulator];
  }
  void flush(std::int64_t accumulator) {
    Sums<Real>& sums = wanted_->counts_by_sequence ? own_[accumulator] : *sums_;
    if (!sums.any_pairs) reserve_counts(sums.pairs, model_->states * width_, *team_);
    sums.any_pairs = true;
    add_outer(chunk_a_.data() + accumulator * kChunk * pitch_,
              chunk_b_.data() + accumulator * kChunk * pitch_, pitch_, chunk_size_[accumulator],
              sums.pairs.data(), width_, model_->states, *team_);
    chunk_size_[accumulator] = 0;
  }
  void open_counts(std::int64_t rows) {
    if (!wanted_->counts || model_->weight_step != 0) return;
    for (std::int64_t a = 0; a < (wanted_->counts_by_sequence ? rows : 1); ++a) {
      chunk_size_[a] = 0;
      if (wanted_->counts_by_sequence) own_[a].any_pairs = own_[a].any_exact = false;
    }
  }
  void close_counts(std::int64_t rows) {
    if (!wanted_->counts || model_->weight_step != 0) return;
    const std::int64_t K = model_->states;
    for (std::int64_t a = 0; a < (wanted_->counts_by_sequence ? rows : 1); ++a) {
      if (chunk_size_[a] > 0) flush(a);
      if (!wanted_->counts_by_sequence) continue;
      const std::int64_t b = block_.sequence(a);
      const Real* log_weight = model_->log_weight + b * model_->weight_stride;
      const Int exponent = transitions_.at(b, 0).largest_exponent();
      Real* to = wanted_->count + b * wanted_->count_stride;
      team_->share(K,
                   [&](std::int64_t i, int) { write_counts(&own_[a], 1, log_weight, i, K, exponent, to); });
    }
  }

  // A posterior goes to its densities and to the ends.
  void distribute(std::int64_t r, std::int64_t t, const Real* gamma) {
    const std::int64_t b = block_.sequence(r);
    const std::int64_t K = model_->states;
    if (wanted_->density != nullptr) {
      const std::int64_t P = model_->densities;
      Real* to = wanted_->density + (b * model_->frames + t) * P;
      const std::int64_t* index = block_.index(r);
      fill(to, P, Real{});
      for (std::int64_t j = 0; j < K; ++j) to[index[j]] += gamma[j];
    }
    if (t == 0) end(gamma, wanted_->first, wanted_->sum_first, sums_->first, b);
    if (t + 1 == block_.length(r)) end(gamma, wanted_->last, wanted_->sum_last, sums_->last, b);
  }
  void end(const Real* gamma, Real* to, bool sum, Buffer<double>& total, std::int64_t b) {
    const std::int64_t K = model_->states;
    for (std::int64_t j = 0; j < K; ++j) {
      if (to != nullptr) to[b * K + j] = gamma[j];
      if (sum) total[j] += static_cast<double>(gamma[j]);
    }
  }

  Real* product() {
    product_.reserve(width_);
    return product_.data();
  }

  static constexpr Int kMostPairExponent = sizeof(Real) == 4 ? 40 : 400;

  const Model<Real>* model_ = nullptr;
  const Wanted<Real>* wanted_ = nullptr;
  Team* team_ = nullptr;
  Block<Real> block_;
  ForwardPass<Real> forward_;
  Transitions<Real> transitions_;
  Rows<Real> rows_;  // backward messages
  std::int64_t width_ = 0;
  std::int64_t pitch_ = 0;
  Buffer<bool> alive_;
  Buffer<Real> gamma_, product_;

  std::int64_t segment_ = 1;
  std::int64_t first_frame_ = 0;
  bool in_place_ = false;
  Buffer<Real> kept_mantissa_, point_mantissa_;
  Buffer<Int> kept_exponent_, point_exponent_;

  Sums<Real>* sums_ = nullptr;
  Array<Sums<Real>> own_;
  Buffer<Real> chunk_a_, chunk_b_;
  Buffer<std::int64_t> chunk_size_;
};

}  // namespace dense

HMM_END_TARGET
