// Runs the CUDA text of the package on a CPU: one block at a time, a thread is a fibre.
//
// Between two barriers the fibres run in an order that the caller picks (ascending, descending,
// scattered), so a missing barrier changes results between orders. Reported are barriers that not
// all threads of a block reach and accesses that are not aligned; bytes of global memory in whole
// accesses are counted. Shared memory is NaN when a block begins.
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __shared__ static
#define __align__(n) alignas(n)
#define DEVICE static inline
#define DEVICE_MEMBER inline
#define SHARED_BYTES(name) unsigned char* name = emulator::shared_bytes
#define __syncthreads emulator::barrier

struct Triple { unsigned x, y, z; };
static Triple threadIdx, blockIdx;

namespace emulator {

enum State { READY, WAITING, DONE };
static ucontext_t home;
static std::vector<ucontext_t> fibres;
static std::vector<State> states;
static int current;
static long errors;
static long moved;  // bytes of global memory that whole accesses read and wrote
static size_t shared_size;
static std::function<void()> kernel;
static unsigned char* shared_bytes;

static void access(const void* p, size_t bytes, size_t alignment) {
  const uintptr_t here = reinterpret_cast<uintptr_t>(p), tile = reinterpret_cast<uintptr_t>(shared_bytes);
  if (here % alignment) ++errors;
  if (here < tile || here >= tile + shared_size) moved += long(bytes);
}

static void enter() {
  kernel();
  states[current] = DONE;
  swapcontext(&fibres[current], &home);
}

static void barrier() {
  states[current] = WAITING;
  swapcontext(&fibres[current], &home);
}

static void put_in_order(std::vector<int>& turns, int order, unsigned& seed) {
  const int n = int(turns.size());
  if (order == 1) for (int t = 0; t < n; ++t) turns[t] = n - 1 - t;
  if (order == 2)
    for (int t = n - 1; t > 0; --t) {
      seed = seed * 1664525u + 1013904223u;
      std::swap(turns[t], turns[(seed >> 8) % unsigned(t + 1)]);
    }
}

static long run(long grid, int threads, long shared, int order) {
  constexpr long STACK = 256 << 10;
  std::vector<char> stacks(size_t(STACK) * threads);
  std::vector<unsigned char> pool(size_t(shared) + 128);
  fibres.resize(threads);
  states.resize(threads);
  errors = moved = 0;
  shared_size = size_t(shared);
  unsigned seed = 12345;
  std::vector<int> turns(threads);
  for (int t = 0; t < threads; ++t) turns[t] = t;
  for (long block = 0; block < grid; ++block) {
    std::fill(pool.begin(), pool.end(), 0xff);
    shared_bytes = reinterpret_cast<unsigned char*>((reinterpret_cast<uintptr_t>(pool.data()) + 63) & ~uintptr_t(63));
    blockIdx = {unsigned(block), 0, 0};
    for (int t = 0; t < threads; ++t) {
      getcontext(&fibres[t]);
      fibres[t].uc_stack.ss_sp = &stacks[size_t(STACK) * t];
      fibres[t].uc_stack.ss_size = STACK;
      fibres[t].uc_link = nullptr;
      makecontext(&fibres[t], enter, 0);
      states[t] = READY;
    }
    for (;;) {
      put_in_order(turns, order, seed);
      for (const int t : turns) {
        if (states[t] != READY) continue;
        current = t;
        threadIdx = {unsigned(t), 0, 0};
        swapcontext(&home, &fibres[t]);
      }
      const long done = std::count(states.begin(), states.end(), DONE);
      if (done == threads) break;
      if (done != 0) ++errors;  // a barrier that some threads never reach
      std::replace(states.begin(), states.end(), WAITING, READY);
    }
  }
  return errors;
}

// Calls a kernel with its arguments given by address, as the driver does.
template <class... P, size_t... I>
long call(void (*f)(P...), void** arguments, std::index_sequence<I...>, long grid, int threads, long shared, int order) {
  kernel = [=] { f(*static_cast<std::remove_const_t<P>*>(arguments[I])...); };
  return run(grid, threads, shared, order);
}
template <class... P>
long call(void (*f)(P...), void** arguments, long grid, int threads, long shared, int order) {
  return call(f, arguments, std::index_sequence_for<P...>{}, grid, threads, shared, order);
}

}  // namespace emulator

extern "C" long moved() { return emulator::moved; }
