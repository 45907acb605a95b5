// Aligns features with a hidden Markov model: align --model MODEL.safetensors --features FEATURES.npy
//
// The model is a GaussianHMM that hmm_models.save_model wrote, the features a float32 array (T, D) of
// numpy.save. Prints one line for each stay in a state: first frame, frame after the last one, state.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>

#include "files.hpp"
#include "hmm/fault.hpp"
#include "hmm/thread_pool.hpp"
#include "hmm/viterbi.hpp"

namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

// Subtracts from `n` logarithms that of the sum of what they are logarithms of; -inf stays -inf.
void normalize(double* values, std::uint64_t n) {
  const double largest = *std::max_element(values, values + n);
  if (largest == kNever) return;
  double sum = 0;
  for (std::uint64_t i = 0; i < n; ++i) sum += std::exp(values[i] - largest);
  for (std::uint64_t i = 0; i < n; ++i) values[i] -= largest + std::log(sum);
}

// A tensor of the model, if it has the wanted shape.
Tensor& part(std::map<std::string, Tensor>& model, const std::string& name,
             const std::vector<std::uint64_t>& shape) {
  const auto found = model.find(name);
  if (found == model.end() || found->second.shape != shape)
    throw std::runtime_error("the model has no " + name + " of the shape that its other parts ask for");
  for (const double value : found->second.values)
    if (!(value < std::numeric_limits<double>::infinity()))
      throw std::runtime_error("the model has NaN or infinity in " + name);
  return found->second;
}

// Diagonal Gaussian mixtures, one a state.
struct Densities {
  std::uint64_t K, M, D;
  std::vector<double> mean, precision,
      constant;  // of each component: log of weight / sqrt(det(2 pi variance))

  explicit Densities(std::map<std::string, Tensor>& model) {
    const std::vector<std::uint64_t> shape = model["emission.mean"].shape;
    if (shape.size() != 3 || std::find(shape.begin(), shape.end(), 0) != shape.end())
      throw std::runtime_error("the model has no emission.mean of shape (K, M, D)");
    K = shape[0], M = shape[1], D = shape[2];
    constant = part(model, "emission.weight_logits", {K, M}).values;
    mean = part(model, "emission.mean", {K, M, D}).values;
    precision = part(model, "emission.log_variance", {K, M, D}).values;
    const std::vector<double>& floor = part(model, "emission.variance_floor", {D}).values;
    for (std::uint64_t k = 0; k < K; ++k) normalize(&constant[k * M], M);
    for (std::uint64_t i = 0; i < K * M * D; ++i) {
      const double variance = std::max(std::exp(precision[i]), floor[i % D]);
      constant[i / D] -= 0.5 * std::log(2 * 3.14159265358979323846 * variance);
      precision[i] = 1 / variance;
    }
  }

  // Log-density of a frame (D,) in state k.
  double operator()(const double* frame, std::uint64_t k) const {
    double largest = kNever, sum = 0;
    for (std::uint64_t m = 0; m < M; ++m) {
      double distance = 0;
      for (std::uint64_t d = 0; d < D; ++d) {
        const std::uint64_t i = (k * M + m) * D + d;
        distance += (frame[d] - mean[i]) * (frame[d] - mean[i]) * precision[i];
      }
      const double component = constant[k * M + m] - 0.5 * distance;
      if (component == kNever) continue;
      sum =
          component > largest ? sum * std::exp(largest - component) + 1 : sum + std::exp(component - largest);
      largest = std::max(largest, component);
    }
    return sum > 0 ? largest + std::log(sum) : kNever;
  }
};

// The most likely state of each frame; empty if there is no path.
std::vector<std::int64_t> align(std::map<std::string, Tensor>& tensors, const Tensor& features) {
  const Densities densities(tensors);
  const std::uint64_t K = densities.K, T = features.shape[0], D = densities.D;
  if (features.shape[1] != D)
    throw std::runtime_error("the model has " + std::to_string(D) +
                             " features a frame, the file of features " + std::to_string(features.shape[1]));

  // A column K of the table, where there is one, holds the probability of ending.
  const std::vector<std::uint64_t> shape = tensors["transition.logits"].shape;
  const std::uint64_t columns = shape.size() == 2 && shape[1] == K + 1 ? K + 1 : K;
  std::vector<double>& table = part(tensors, "transition.logits", {K, columns}).values;
  for (std::uint64_t k = 0; k < K; ++k) normalize(&table[k * columns], columns);
  std::vector<double>& initial = part(tensors, "initial.logits", {K}).values;
  normalize(initial.data(), K);

  // The engine takes the arcs into each state, ascending, then -1.
  std::uint64_t R = 1;
  for (std::uint64_t to = 0; to < K; ++to) {
    std::uint64_t arcs = 0;
    for (std::uint64_t from = 0; from < K; ++from) arcs += table[from * columns + to] > kNever ? 1 : 0;
    R = std::max(R, arcs);
  }
  std::vector<std::int64_t> predecessors(K * R, -1);
  std::vector<float> log_weight(K * R, 0);
  for (std::uint64_t to = 0; to < K; ++to) {
    std::uint64_t slot = to * R;
    for (std::uint64_t from = 0; from < K; ++from) {
      if (table[from * columns + to] == kNever) continue;
      predecessors[slot] = static_cast<std::int64_t>(from);
      log_weight[slot++] = static_cast<float>(table[from * columns + to]);
    }
  }
  const std::vector<float> log_initial(initial.begin(), initial.end());
  std::vector<float> log_final(K, 0);
  if (columns > K)
    for (std::uint64_t k = 0; k < K; ++k) log_final[k] = static_cast<float>(table[k * columns + K]);
  std::vector<float> log_emission(T * K);
  for (std::uint64_t t = 0; t < T; ++t)
    for (std::uint64_t k = 0; k < K; ++k)
      log_emission[t * K + k] = static_cast<float>(densities(&features.values[t * D], k));
  const std::int64_t length = static_cast<std::int64_t>(T);

  hmm::Model<float> model;
  model.batch = 1;
  model.frames = length;
  model.states = model.densities = static_cast<std::int64_t>(K);
  model.slots = static_cast<std::int64_t>(R);
  model.log_initial = log_initial.data();
  model.predecessors = predecessors.data();
  model.log_weight = log_weight.data();
  model.log_emission = log_emission.data();
  model.lengths = &length;
  model.log_final = log_final.data();
  hmm::Fault fault = hmm::find_table_fault(model);
  std::vector<std::int64_t> states(T, -1);
  float log_score;
  // Viterbi checks the emissions itself.
  if (fault.kind == hmm::Fault::kNone)
    fault = hmm::viterbi(model, hmm::ThreadPool::executor(1), hmm::ViterbiMemory::kAuto, states.data(),
                         &log_score);
  if (fault.kind != hmm::Fault::kNone) throw std::runtime_error("the model holds NaN or infinity");
  if (T > 0 && states[0] < 0) states.clear();
  return states;
}

}  // namespace

int main(int argc, char** argv) try {
  std::string model, features;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::string(argv[i]) == "--model") model = argv[i + 1];
    if (std::string(argv[i]) == "--features") features = argv[i + 1];
  }
  if (argc != 5 || model.empty() || features.empty()) {
    std::fprintf(stderr, "usage: align --model MODEL.safetensors --features FEATURES.npy\n");
    return 2;
  }
  std::map<std::string, Tensor> tensors = read_model(model, "GaussianHMM");
  const Tensor frames = read_features(features);
  const std::vector<std::int64_t> states = align(tensors, frames);
  if (states.empty() && frames.shape[0] > 0) throw std::runtime_error("no path leads through these features");
  for (std::size_t begin = 0; begin < states.size();) {
    std::size_t end = begin + 1;
    while (end < states.size() && states[end] == states[begin]) ++end;
    std::printf("%zu\t%zu\t%lld\n", begin, end, static_cast<long long>(states[begin]));
    begin = end;
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "align: %s\n", error.what());
  return 1;
}
