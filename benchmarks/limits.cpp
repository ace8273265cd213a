// The limits of the machine: a plain read, the multiply-add peak, and the distance of two threads.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <omp.h>
typedef float V __attribute__((vector_size(64)));
static inline V load(const float* p) { V v; memcpy(&v, p, 64); return v; }
extern "C" {
float pingpong_ns(int rounds) {  // round trip of a cache line; about 100 near, 400 on two chiplets
  std::atomic<int> flag{0};
  int threads = 0;
  auto t = std::chrono::steady_clock::now();
  #pragma omp parallel num_threads(2)
  {
    const int me = omp_get_thread_num();
    #pragma omp single
    threads = omp_get_num_threads();
    if (threads == 2)
      for (int i = 0; i < rounds; i++) { while (flag.load() != me) {} flag.store(1 - me); }
  }
  return std::chrono::duration<float>(std::chrono::steady_clock::now() - t).count() / rounds * 1e9f;
}
float read_bytes(const float* p, int64_t n, int reps, int threads) {
  float total = 0;
  #pragma omp parallel num_threads(threads) reduction(+:total)
  {
    const int64_t part = n / omp_get_num_threads() / 128 * 128;
    const float* q = p + part * omp_get_thread_num();
    V s[8] = {};
    for (int r = 0; r < reps; r++)
      for (int64_t i = 0; i < part; i += 128)
        for (int j = 0; j < 8; j++) s[j] += load(q + i + 16 * j);
    for (int j = 0; j < 8; j++) for (int i = 0; i < 16; i++) total += s[j][i];
  }
  return total;
}
float fma_peak(int64_t n, int threads) {
  float total = 0;
  #pragma omp parallel num_threads(threads) reduction(+:total)
  {
    V a[16], b = V{} + 0.999f, c = V{} + 1e-3f;
    for (int j = 0; j < 16; j++) a[j] = V{} + (float)j;
    for (int64_t i = 0; i < n; i++) {
      for (int j = 0; j < 16; j++) a[j] = a[j] * b + c;
      asm volatile("" : "+v"(b));
    }
    for (int j = 0; j < 16; j++) for (int i = 0; i < 16; i++) total += a[j][i];
  }
  return total;
}
}
