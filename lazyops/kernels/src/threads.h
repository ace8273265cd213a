// How many threads a product may have, for all kernels; and parts of one large product on threads
// that live as long as it: nothing waits or spins between products. Starting a thread costs some
// 20 us, so such parts are made from some megabytes of values on.
#pragma once
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace {

constexpr int MOST_PARTS = 64;
constexpr double PART_BYTES = 4 << 20;  // of values: about 0.3 ms at 12 GB/s

inline int from_environment();
// Threads allowed by lazyops_set_threads or LAZYOPS_NUM_THREADS; 0: as many as there are.
std::atomic<int> allowed{from_environment()};
// A forked child has none of the threads that OpenMP keeps: it would wait for them for ever.
std::atomic<bool> forked{false};
const int watching = pthread_atfork(nullptr, nullptr, [] { forked.store(true); });

inline int processors() {
#if defined(_OPENMP)
  return omp_get_max_threads();  // threadpoolctl and OMP_NUM_THREADS set it
#elif defined(__linux__)
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
#else
  return 1;
#endif
}

inline int from_environment() {
  const char* text = std::getenv("LAZYOPS_NUM_THREADS");
  const int n = text ? std::atoi(text) : 0;
  return n < 0 ? 0 : n;
}

inline int threads() {
  if (forked.load(std::memory_order_relaxed) || watching != 0) return 1;
  const int n = allowed.load(std::memory_order_relaxed);
  return n ? n : processors();
}

// f(0) ... f(parts - 1), each once; parts <= MOST_PARTS; a part whose thread cannot be started runs here.
template <class F>
void each_part(int parts, const F& f) {
  struct Part {
    const F* f;
    int k;
    pthread_t thread;
    bool started;
  } part[MOST_PARTS];
  for (int k = 1; k < parts; ++k) {
    part[k] = {&f, k, {}, false};
    part[k].started = pthread_create(&part[k].thread, nullptr, [](void* p) -> void* {
      const Part* own = static_cast<const Part*>(p);
      (*own->f)(own->k);
      return nullptr;
    }, &part[k]) == 0;
  }
  f(0);
  for (int k = 1; k < parts; ++k)
    if (part[k].started) pthread_join(part[k].thread, nullptr);
    else f(k);
}

}  // namespace

extern "C" {
void lazyops_set_threads(int n) {
  allowed.store(n < 0 ? from_environment() : n, std::memory_order_relaxed);
}
int lazyops_threads() { return threads(); }
}
