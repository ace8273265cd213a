// The limits of the machine, measured by the same threads as the kernels: what `lazyops bench` and
// benchmarks/cpu.py hold products against.
#include "buffers.h"
#include "lanes.h"
#include "threads.h"

namespace {

using F = Lanes<float, BYTES / sizeof(float)>;
volatile float sink;  // what is read must be used

}  // namespace

extern "C" {

// Reads every byte of a buffer once, on all threads.
int lazyops_read(void* array) {
  Held in(array, 0);
  if (!in.held) return failed;
  constexpr I PIECE = 8 * BYTES;
  const float* p = static_cast<const float*>(in.b.buf);
  void* state = save_thread();
  share(in.b.len / PIECE, threads(), [&](I from, I to) {
    F::V s[8] = {};
    for (I i = from; i < to; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) s[j] += F::load(p + (i * 8 + j) * I(BYTES / sizeof(float)));
    for (int j = 1; j < 8; ++j) s[0] += s[j];
    sink = s[0][0];
  }, 16);
  restore_thread(state);
  return done;
}

// `rounds` times 16 independent multiply-adds of vectors, on each of `parts` parts shared by all
// threads; returns the floating-point operations done.
double lazyops_multiply_add(int64_t rounds, int parts) {
  void* state = save_thread();
  share(parts, threads(), [&](I from, I to) {
    for (I part = from; part < to; ++part) {
      F::V a[16], b = F::splat(0.999f), c = F::splat(1e-3f);
      for (int j = 0; j < 16; ++j) a[j] = F::splat(float(j));
      for (I i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
        for (int j = 0; j < 16; ++j) a[j] = a[j] * b + c;
        asm volatile("" : "+x"(b));
      }
      for (int j = 1; j < 16; ++j) a[0] += a[j];
      sink = a[0][0];
    }
  });
  restore_thread(state);
  return 2.0 * 16 * (BYTES / sizeof(float)) * double(rounds) * parts;
}

// ns that a cache line takes to another thread and back: about 100 on one chiplet, 400 on two.
double lazyops_distance(int rounds) {
  struct Court {
    std::atomic<int> turn{0};
    int rounds;
    void play(int me) {
      for (int i = 0; i < rounds; ++i) {
        while (turn.load() != me) rest();
        turn.store(1 - me);
      }
    }
  } court;
  court.rounds = rounds;
  pthread_t other;
  void* state = save_thread();
  double took = -1;
  if (pthread_create(&other, nullptr, [](void* c) -> void* {
        static_cast<Court*>(c)->play(1);
        return nullptr;
      }, &court) == 0) {
    const double start = now();
    court.play(0);
    pthread_join(other, nullptr);
    took = (now() - start) / rounds;
  }
  restore_thread(state);
  return took;
}
}
