// The emulator: fibres, barriers, and what accesses to memory call.
//
// Between two barriers the fibres run in an order that the caller picks (ascending, descending,
// scattered). Reported are barriers that not all threads of a block reach, accesses that are not
// aligned, and what emulator_trace.h sees. Shared memory is NaN when a block begins.
#include <ucontext.h>

#include <cstdlib>

#include "emulator_trace.h"

Triple threadIdx, blockIdx;

namespace emulator {

enum State { READY, WAITING, DONE };
static ucontext_t home;
static std::vector<ucontext_t> fibres;
static std::vector<State> states;
static int current;
static const Work* work;
unsigned char* shared_bytes;
bool inside;
constexpr long STACK = 256 << 10;

static int thread_now() { return current; }
static bool is_register(const void* p) {
  const auto of = [p](const Triple& t) { return p >= &t && p < &t + 1; };
  return of(threadIdx) || of(blockIdx) || p == &shared_bytes;
}
static void leave(State state) {
  inside = false;
  states[current] = state;
  swapcontext(&fibres[current], &home);
  inside = true;
}
static void give_up() {
  leave(DONE);
  std::abort();
}

static void enter() {
  work->run(work->of);
  leave(DONE);
}

void barrier() {
  inside = false;
  covers[current] = {};
  leave(WAITING);
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

static void begin(const Request& q, const Region* given) {
  fibres.resize(q.threads);
  states.resize(q.threads);
  covers.assign(q.threads, {});
  accounts.fill({});
  errors = 0, tracing = q.trace, whole = q.whole, element_of_sums = q.element;
  regions.assign(given, given + q.regions);
  written.clear();
  for (const Region& r : regions) written.emplace_back(whole && r.role == WRITTEN ? r.bytes : 0);
}

static void one_block(const Request& q, std::vector<char>& stacks, unsigned& seed) {
  std::vector<int> turns(q.threads);
  for (int t = 0; t < q.threads; ++t) {
    turns[t] = t;
    getcontext(&fibres[t]);
    fibres[t].uc_stack.ss_sp = &stacks[size_t(STACK) * t];
    fibres[t].uc_stack.ss_size = STACK;
    fibres[t].uc_link = nullptr;
    makecontext(&fibres[t], enter, 0);
    states[t] = READY;
  }
  words.clear();
  last.assign(q.threads, -1);
  for (turn = 0;; ++turn) {
    put_in_order(turns, q.order, seed);
    for (const int t : turns) {
      if (states[t] != READY) continue;
      current = t;
      threadIdx = {unsigned(t), 0, 0};
      stack_begin = &stacks[size_t(STACK) * t], stack_end = stack_begin + STACK;
      swapcontext(&home, &fibres[t]);
    }
    const long done = std::count(states.begin(), states.end(), DONE);
    if (done == q.threads) break;
    if (done != 0) errors |= BARRIER;  // one that some threads never reach
    std::replace(states.begin(), states.end(), WAITING, READY);
  }
  account();
}

int run(const Work& given_work, const Request& q, const Region* given) {
  work = &given_work;
  shared_begin = work->shared_begin, shared_end = work->shared_end;
  std::vector<char> stacks(size_t(STACK) * q.threads);
  std::vector<unsigned char> pool(size_t(q.shared) + 256);
  shared_bytes = reinterpret_cast<unsigned char*>((reinterpret_cast<uintptr_t>(pool.data()) + 127) & ~uintptr_t(127));
  pool_begin = reinterpret_cast<char*>(shared_bytes), pool_end = pool_begin + q.shared;
  begin(q, given);
  unsigned seed = 12345;
  for (int64_t block = q.first; block < q.stop; ++block) {
    std::fill(pool.begin(), pool.end(), 0xff);
    std::fill(work->shared_begin, work->shared_end, char(0xff));
    blockIdx = {unsigned(block), 0, 0};
    one_block(q, stacks, seed);
  }
  for (const auto& bytes : written)
    if (std::count(bytes.begin(), bytes.end(), 0)) errors |= UNWRITTEN;
  return errors;
}

}  // namespace emulator

extern "C" void accounts(emulator::Account* to) {
  std::copy(emulator::accounts.begin(), emulator::accounts.end(), to);
}

#define HOOK(size)                                                                                          \
  extern "C" void __tsan_read##size(void* p) { emulator::touched(__builtin_return_address(0), p, size, false); }  \
  extern "C" void __tsan_write##size(void* p) { emulator::touched(__builtin_return_address(0), p, size, true); }  \
  extern "C" void __tsan_unaligned_read##size(void* p) { emulator::touched(__builtin_return_address(0), p, size, false); } \
  extern "C" void __tsan_unaligned_write##size(void* p) { emulator::touched(__builtin_return_address(0), p, size, true); }
HOOK(1)
HOOK(2)
HOOK(4)
HOOK(8)
HOOK(16)
#undef HOOK
extern "C" void __tsan_read_range(void* p, unsigned long size) {
  emulator::touched(__builtin_return_address(0), p, int(size), false);
}
extern "C" void __tsan_write_range(void* p, unsigned long size) {
  emulator::touched(__builtin_return_address(0), p, int(size), true);
}
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_vptr_update(void**, void*) {}
extern "C" void __tsan_vptr_read(void**) {}
