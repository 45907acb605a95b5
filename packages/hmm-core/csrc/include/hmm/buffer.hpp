// Uninitialised memory on a cache line boundary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include "hmm/target.hpp"

HMM_BEGIN_TARGET

// Grows, never shrinks, does not keep its contents when it grows. For numbers only: nothing is constructed.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::int64_t size) { reserve(size); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }

  T* reserve(std::int64_t size) {
    if (size > size_) {
      release();
      data_ =
          static_cast<T*>(::operator new(static_cast<std::size_t>(size) * sizeof(T), std::align_val_t{64}));
      size_ = size;
    }
    return data_;
  }
  T* data() { return data_; }
  const T* data() const { return data_; }
  T& operator[](std::int64_t i) { return data_[i]; }
  const T& operator[](std::int64_t i) const { return data_[i]; }
  std::int64_t size() const { return size_; }

 private:
  void release() {
    if (data_ != nullptr) ::operator delete(data_, std::align_val_t{64});
    data_ = nullptr;
    size_ = 0;
  }
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

// Fetches n numbers, all at once: another core may have them.
template <typename T>
HMM_INLINE void fetch(const T* from, std::int64_t n) {
  for (std::int64_t i = 0; i < n; i += 64 / static_cast<std::int64_t>(sizeof(T)))
    __builtin_prefetch(from + i);
}

// Fetches the n numbers that are `ahead` frames of n numbers away, or a few lines away where a frame is
// short: several sequences read side by side are more streams than the machine follows by itself.
template <typename T>
HMM_INLINE void fetch_ahead(const T* frame, std::int64_t n, std::int64_t ahead) {
  constexpr std::int64_t kLine = 64;
  const std::int64_t bytes = n * static_cast<std::int64_t>(sizeof(T));
  std::int64_t distance = 2 * bytes;
  if (distance < 4 * kLine) distance = 4 * kLine;
  // Addresses as numbers: the last frames reach beyond the array, which a prefetch may.
  const std::uintptr_t from =
      reinterpret_cast<std::uintptr_t>(frame) + static_cast<std::uintptr_t>(ahead * distance);
  for (std::int64_t byte = 0; byte < bytes; byte += kLine)
    __builtin_prefetch(reinterpret_cast<const void*>(from + static_cast<std::uintptr_t>(byte)));
}

// Objects that are made anew when there must be more of them.
template <typename T>
class Array {
 public:
  Array() = default;
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { delete[] data_; }

  void reserve(std::int64_t size) {
    if (size <= size_) return;
    delete[] data_;
    data_ = nullptr;
    data_ = new T[static_cast<std::size_t>(size)];
    size_ = size;
  }
  T& operator[](std::int64_t i) { return data_[i]; }

 private:
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

// One T for each worker of a parallel_for.
template <typename T>
class PerWorker {
 public:
  explicit PerWorker(int workers) : workers_(new T[static_cast<std::size_t>(workers)]) {}
  PerWorker(const PerWorker&) = delete;
  PerWorker& operator=(const PerWorker&) = delete;
  ~PerWorker() { delete[] workers_; }
  T& operator[](int worker) { return workers_[worker]; }

 private:
  T* workers_;
};

HMM_END_TARGET
