// Forward-backward recursions with dense transitions: log_weight (.., K, K) [from, to].
//
// One frame of one sequence is a product of a vector and a matrix of ordinary numbers, then a multiplication
// by the emission in extended numbers: no logarithm, and one exponential a state. What ordinary numbers might
// lose is noticed and computed again in extended numbers, so that nothing underflows: see dense_rows.hpp.
//
// Every sum over states runs in one fixed order, and sums over sequences run over parts of the batch that
// depend on its size only: results are the same bits for any number of threads, and, sums over sequences
// aside, for any company in the batch.
//
// Memory: a block of sequences keeps its forward messages, where more than one direction is wanted: (rows, T,
// K) for 1 to 8 rows, or sqrt(T) of these frames where that is more than 64 MiB. Posteriors of few states are
// computed with as many rows as a vector has lanes, and at most 64 MiB.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "hmm/dense_narrow.hpp"
#include "hmm/dense_smooth.hpp"

HMM_BEGIN_TARGET

namespace dense {

// The table that all share, if there is one.
template <typename Real>
const Table<Real>* lay_out(const Model<Real>& m, const Executor& executor, bool transposed,
                           Table<Real>& table) {
  if (!one_table(m) || m.batch == 0) return nullptr;
  table.build(m.log_weight, m.states, transposed, [&](std::int64_t panels, auto&& fill) {
    const int threads = useful_threads(executor, panels, 2 * static_cast<double>(m.weights()));
    parallel_for(executor, panels, threads, [&](std::int64_t panel, int) { fill(panel); });
  });
  return &table;
}

// Smooths a batch whose results are all those of single sequences.
template <typename Real>
void smooth_each(const Model<Real>& m, const Executor& executor, const Wanted<Real>& wanted) {
  Table<Real> forward, backward;
  const Table<Real>* shared_forward = lay_out(m, executor, false, forward);
  const Table<Real>* shared_backward = lay_out(m, executor, true, backward);
  for_blocks<Smoother<Real>>(m, executor, smoothing_rows(m, wanted), false, 3 * work(m),
                             [&](Smoother<Real>& smoother, const std::int64_t* sequences, std::int64_t count,
                                 std::int64_t rows, Team& team) {
                               Sums<Real> none;
                               smoother.open(m, wanted, shared_forward, shared_backward, rows, team);
                               smoother.smooth(sequences, count, none);
                             });
}

// Parts of a batch whose results are summed: two at least, unless states are so many that threads share them.
template <typename Real>
std::int64_t parts(const Model<Real>& m, const Wanted<Real>& wanted) {
  constexpr std::int64_t kMostParts = 16;
  if (wanted.counts && m.weight_step != 0 && m.weight_stride == 0) return 1;
  constexpr std::int64_t kManyStates = 448;
  std::int64_t blocks = (m.batch + kRows - 1) / kRows;
  if (blocks == 1 && m.batch > 1 && m.states < kManyStates) blocks = 2;
  return blocks < kMostParts ? blocks : kMostParts;
}

}  // namespace dense

// log p(y_1..t, z_t) (B, T, K) and the log-likelihood (B,).
template <typename Real>
void dense_forward(const Model<Real>& m, const Executor& executor, Real* log_alpha, Real* log_likelihood) {
  using Worker = dense::ForwardPass<Real>;
  dense::Table<Real> table;
  const dense::Table<Real>* shared = dense::lay_out(m, executor, false, table);
  dense::for_blocks<Worker>(
      m, executor, dense::most_rows(m), false, 2 * dense::work(m),
      [&](Worker& pass, const std::int64_t* sequences, std::int64_t count, std::int64_t rows, Team& team) {
        dense::Block<Real> block;
        block.open(m, rows);
        block.take(sequences, count);
        pass.open(m, shared, rows, team);
        pass.run(block, 0, block.longest(), [&](std::int64_t r, std::int64_t t) {
          const std::int64_t b = block.sequence(r);
          dense::write_log(pass.rows().message(r), pass.rows().base(r),
                           log_alpha + (b * m.frames + t) * m.states);
          if (t + 1 == block.length(r))
            log_likelihood[b] = static_cast<Real>(pass.log_likelihood(r, block.final(r)));
        });
        for (std::int64_t r = 0; r < count; ++r) {
          const std::int64_t b = block.sequence(r);
          const std::int64_t length = block.length(r);
          if (length == 0) log_likelihood[b] = 0;
          dense::fill(log_alpha + (b * m.frames + length) * m.states, (m.frames - length) * m.states,
                      -std::numeric_limits<Real>::infinity());
        }
      });
}

// log p(y_t+1..T | z_t) (B, T, K), log_final included.
template <typename Real>
void dense_backward(const Model<Real>& m, const Executor& executor, Real* log_beta) {
  struct Worker {
    dense::Block<Real> block;
    dense::Rows<Real> rows;
    dense::Transitions<Real> transitions;
  };
  dense::Table<Real> table;
  const dense::Table<Real>* shared = dense::lay_out(m, executor, true, table);
  dense::for_blocks<Worker>(
      m, executor, dense::most_rows(m), false, 2 * dense::work(m),
      [&](Worker& worker, const std::int64_t* sequences, std::int64_t count, std::int64_t most, Team& team) {
        dense::Block<Real>& block = worker.block;
        dense::Rows<Real>& rows = worker.rows;
        block.open(m, most);
        block.take(sequences, count);
        rows.open(most, m.states, team);
        worker.transitions.open(m, true, shared, team);
        for (std::int64_t t = block.longest() - 1; t >= 0; --t) {
          const std::int64_t active = block.active(t);
          const std::int64_t before = block.active(t + 1);
          const dense::Table<Real>* step = nullptr;
          if (before > 0) {
            step = &worker.transitions.at(block.sequence(0), t);
            rows.advance(*step, 0, before);
          }
          for (std::int64_t r = before; r < active; ++r) rows.start(r, block.final(r));
          for (std::int64_t r = 0; r < active; ++r) {
            const dense::Table<Real>* own = r < before ? step : nullptr;
            dense::write_log(rows.sum_numbers(r, own), rows.base(r),
                             log_beta + (block.sequence(r) * m.frames + t) * m.states);
            if (t > 0) rows.read(r, block.emission(r, t), block.index(r), -1);
          }
          if (t > 0) rows.emit(active, step);
        }
        for (std::int64_t r = 0; r < count; ++r) {
          const std::int64_t length = block.length(r);
          dense::fill(log_beta + (block.sequence(r) * m.frames + length) * m.states,
                      (m.frames - length) * m.states, -std::numeric_limits<Real>::infinity());
        }
      });
}

namespace dense {

// Log-likelihoods of a block, and its messages where wanted.
template <typename Real>
void read_block(const Model<Real>& m, const Table<Real>* shared, ForwardPass<Real>& pass,
                const std::int64_t* sequences, std::int64_t count, Team& team, Real* log_likelihood,
                Real* mantissa, IntOf<Real>* exponent) {
  Block<Real> block;
  block.open(m, count);
  block.take(sequences, count);
  pass.open(m, shared, count, team);
  pass.run(block, 0, block.longest(), [&](std::int64_t r, std::int64_t t) {
    const std::int64_t b = block.sequence(r);
    const std::int64_t place = (b * m.frames + t) * m.states;
    if (mantissa != nullptr) pass.rows().save(r, mantissa + place, exponent + place);
    if (t + 1 == block.length(r))
      log_likelihood[b] = static_cast<Real>(pass.log_likelihood(r, block.final(r)));
  });
}

}  // namespace dense

// The log-likelihood (B,), and, where not null, the messages (B, T, K) for dense_gradient: exponents are
// written where a frame needs them only, which the sign of its first mantissa tells.
template <typename Real>
void dense_log_likelihood(const Model<Real>& m, const Executor& executor, Real* log_likelihood,
                          Real* mantissa, dense::IntOf<Real>* exponent) {
  struct Worker {
    dense::ForwardPass<Real> pass;
    dense::Lanes<Real> lanes;
  };
  dense::Table<Real> table;
  const dense::Table<Real>* shared = dense::lay_out(m, executor, false, table);
  const bool narrow = dense::narrow(m, shared, false);
  dense::for_blocks<Worker>(
      m, executor, narrow ? kLanes<Real> : dense::most_rows(m), narrow, dense::work(m),
      [&](Worker& worker, const std::int64_t* sequences, std::int64_t count, std::int64_t, Team& team) {
        const auto read_rows = [&](std::int64_t begin, std::int64_t rows) {
          dense::read_block(m, shared, worker.pass, sequences + begin, rows, team, log_likelihood, mantissa,
                            exponent);
        };
        const bool use_lanes = narrow && dense::worth_lanes(m, sequences, count);
        if (use_lanes) {
          worker.lanes.open(m, shared, nullptr);
          worker.lanes.take(sequences, count);
          worker.pass.open(m, shared, 1, team);
          worker.lanes.forward(
              [&](std::int64_t lane, dense::Numbers<Real> message, std::int64_t base) {
                const std::int64_t b = sequences[lane];
                log_likelihood[b] =
                    static_cast<Real>(worker.pass.total(message, base, m.log_final + b * m.final_stride));
              },
              [&](std::int64_t t) {
                if (mantissa != nullptr) worker.lanes.save(t, mantissa);
              });
        }
        for (std::int64_t i = 0; i < count; ++i) {
          const std::int64_t b = sequences[i];
          const std::int64_t begin = b * m.frames * m.states;
          const std::int64_t used = m.lengths[b] * m.states;
          if (m.lengths[b] == 0) log_likelihood[b] = 0;
          if (mantissa == nullptr) continue;
          dense::fill(mantissa + begin + used, m.frames * m.states - used, Real{});
        }
        dense::for_runs(
            count, dense::most_rows(m),
            [&](std::int64_t lane) { return !use_lanes || worker.lanes.failed(lane); }, read_rows);
      });
}

// p(z_t | y) (B, T, K) and the log-likelihood (B,).
template <typename Real>
void dense_posterior(const Model<Real>& m, const Executor& executor, Real* state, Real* log_likelihood) {
  struct Worker {
    dense::ForwardPass<Real> pass;
    dense::Lanes<Real> lanes;
    dense::Smoother<Real> smoother;
  };
  dense::Wanted<Real> wanted;
  wanted.state = state;
  wanted.log_likelihood = log_likelihood;
  dense::Table<Real> forward, backward;
  const dense::Table<Real>* shared_forward = dense::lay_out(m, executor, false, forward);
  const dense::Table<Real>* shared_backward = dense::lay_out(m, executor, true, backward);
  const bool narrow = dense::narrow(m, shared_forward, true) && dense::narrow(m, shared_backward, true);
  dense::for_blocks<Worker>(
      m, executor, narrow ? kLanes<Real> : dense::most_rows(m), narrow, 3 * dense::work(m),
      [&](Worker& worker, const std::int64_t* sequences, std::int64_t count, std::int64_t, Team& team) {
        const bool use_lanes = narrow && dense::worth_lanes(m, sequences, count);
        if (use_lanes) {
          worker.lanes.open(m, shared_forward, shared_backward);
          worker.lanes.take(sequences, count);
          worker.pass.open(m, shared_forward, 1, team);
          worker.lanes.forward(
              [&](std::int64_t lane, dense::Numbers<Real> message, std::int64_t base) {
                const std::int64_t b = sequences[lane];
                const double total = worker.pass.total(message, base, m.log_final + b * m.final_stride);
                log_likelihood[b] = static_cast<Real>(total);
                if (!(total > -std::numeric_limits<double>::infinity())) worker.lanes.give_up(lane);
              },
              [&](std::int64_t t) { worker.lanes.keep(t); });
          worker.lanes.posterior(state);
          for (std::int64_t i = 0; i < count; ++i) {
            const std::int64_t b = sequences[i];
            const std::int64_t used = m.lengths[b] * m.states;
            if (m.lengths[b] == 0) log_likelihood[b] = 0;
            dense::fill(state + b * m.frames * m.states + used, m.frames * m.states - used, Real{});
          }
        }
        dense::for_runs(
            count, dense::most_rows(m),
            [&](std::int64_t lane) { return !use_lanes || worker.lanes.failed(lane); },
            [&](std::int64_t begin, std::int64_t rows) {
              dense::Sums<Real> none;
              worker.smoother.open(m, wanted, shared_forward, shared_backward, rows, team);
              worker.smoother.smooth(sequences + begin, rows, none);
            });
      });
}

// Expected uses of every arc (B, T-1|1, K, K).
template <typename Real>
void dense_expected_transitions(const Model<Real>& m, const Executor& executor, Real* counts) {
  const std::int64_t tables = m.weight_step == 0 ? 1 : m.frames - 1;
  dense::Wanted<Real> wanted;
  wanted.counts = true;
  wanted.counts_by_sequence = true;
  wanted.count = counts;
  wanted.count_stride = tables * m.weights();
  if (m.weight_step != 0) dense::fill(counts, m.batch * tables * m.weights(), Real{});
  dense::smooth_each(m, executor, wanted);
}

// Derivatives of sum_b upstream[b] * log_likelihood[b]. Null outputs are not computed; mantissa and exponent
// are those of dense_log_likelihood, or null, and then computed again with checkpoints.
template <typename Real>
void dense_gradient(const Model<Real>& m, const Executor& executor, const Real* upstream,
                    const Real* mantissa, const dense::IntOf<Real>* exponent, Real* d_initial, Real* d_weight,
                    Real* d_emission, Real* d_final) {
  const std::int64_t K = m.states;
  const bool steps = m.weight_step != 0;
  dense::Wanted<Real> wanted;
  wanted.upstream = upstream;
  wanted.mantissa = mantissa;
  wanted.exponent = exponent;
  wanted.checkpoint = true;
  (m.emission_index == nullptr ? wanted.state : wanted.density) = d_emission;
  wanted.counts = d_weight != nullptr;
  wanted.counts_by_sequence = wanted.counts && m.weight_stride != 0;
  wanted.sum_first = d_initial != nullptr && m.initial_stride == 0;
  wanted.sum_last = d_final != nullptr && m.final_stride == 0;
  wanted.first = wanted.sum_first ? nullptr : d_initial;
  wanted.last = wanted.sum_last ? nullptr : d_final;
  if (wanted.counts && (steps || wanted.counts_by_sequence)) {
    wanted.count = d_weight;
    wanted.count_stride = m.weight_stride;
  }
  if (wanted.counts && steps)
    dense::fill(d_weight, (m.weight_stride == 0 ? 1 : m.batch) * (m.frames - 1) * K * K, Real{});
  const bool sum_counts = wanted.counts && !wanted.counts_by_sequence && !steps;
  const bool one_part = wanted.counts && !wanted.counts_by_sequence && steps;
  if (!wanted.sum_first && !wanted.sum_last && !sum_counts && !one_part) {
    dense::smooth_each(m, executor, wanted);
    return;
  }

  dense::Table<Real> forward, backward;
  const dense::Table<Real>* shared_forward =
      mantissa == nullptr ? dense::lay_out(m, executor, false, forward) : nullptr;
  const dense::Table<Real>* shared_backward = dense::lay_out(m, executor, true, backward);
  const std::int64_t parts = dense::parts(m, wanted);
  Array<dense::Sums<Real>> sums;
  sums.reserve(parts);
  for (std::int64_t part = 0; part < parts; ++part) {
    Team alone;
    dense::Smoother<Real>::reserve_counts(sums[part].first, K, alone);
    dense::Smoother<Real>::reserve_counts(sums[part].last, K, alone);
  }
  const std::int64_t rows = dense::smoothing_rows(m, wanted);
  const double effort = 3 * dense::work(m);
  LongestFirst order(m.lengths, m.batch, m.frames);
  order.deal(parts, [&](std::int64_t part) { return m.batch * part / parts; });
  using Smoother = dense::Smoother<Real>;
  for_each_item<Smoother>(executor, parts, dense::members(m, executor, parts, rows, effort), effort,
                          [&](std::int64_t part, Smoother& smoother, Team& team) {
                            const std::int64_t begin = m.batch * part / parts;
                            const std::int64_t end = m.batch * (part + 1) / parts;
                            smoother.open(m, wanted, shared_forward, shared_backward, rows, team);
                            for (std::int64_t i = begin; i < end; i += rows)
                              smoother.smooth(order.data() + i, end - i < rows ? end - i : rows, sums[part]);
                          });

  const auto sum_ends = [&](Real* to, bool first) {
    for (std::int64_t j = 0; j < K; ++j) {
      double value = 0;
      for (std::int64_t part = 0; part < parts; ++part)
        value += first ? sums[part].first[j] : sums[part].last[j];
      to[j] = static_cast<Real>(value);
    }
  };
  if (wanted.sum_first) sum_ends(d_initial, true);
  if (wanted.sum_last) sum_ends(d_final, false);
  if (!sum_counts) return;
  const double writing = 2 * static_cast<double>(parts) * static_cast<double>(m.weights());
  parallel_for(executor, K, useful_threads(executor, K, writing), [&](std::int64_t i, int) {
    dense::Smoother<Real>::write_counts(&sums[0], parts, m.log_weight, i, K, backward.largest_exponent(),
                                        d_weight);
  });
}

HMM_END_TARGET
