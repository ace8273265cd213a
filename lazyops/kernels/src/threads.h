// Threads for all kernels: share(count, team, f) runs f over 0 .. count - 1 in pieces, each once.
//
// Work is offered, never handed over. The caller and the workers that happen to be awake take
// pieces, first of their own part (which a core finds in its cache the next time), then of the
// others' parts. So the caller never waits for a thread that has not begun: where another process
// or a pool of BLAS holds a core, a product is as slow as alone, not as slow as the scheduler.
// OpenMP's barrier, tried first, turned 0.4 ms into 30 ms there.
//
// Only a worker that loses its core in the middle of a piece is waited for; when that has taken
// long, products go alone for a while.
//
// A worker looks out for work for a while, then sleeps; waking one costs the caller some
// microseconds, so a short product wakes nobody unless products follow each other closely. Linux
// wakes a thread on the processor of the one that calls, where it waits for milliseconds: sleepers
// are kept off that processor.
#pragma once
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace {

// Where a thread may lose its core at the worst moment; tests/native/pool_races.cpp makes it so.
#if !defined(LAZYOPS_POOL_PREEMPTED)
#define LAZYOPS_POOL_PREEMPTED()
#endif

constexpr int MOST_THREADS = 64;
constexpr int64_t PIECES = 16;  // of a member's part: so little waits for the last one
// All times are in ns.
constexpr double LOOK_OUT = 100e3;  // that a worker spins for the next piece of work
// Work from which a team pays: with workers that are awake, with products that follow each other
// within FOLLOWS, and alone.
constexpr double AWAKE = 8e3, FOLLOWING = 20e3, ASLEEP = 200e3, FOLLOWS = 300e3;
// After a wait as long as LONG_WAIT, and half as long as the work, products go alone for AVOID,
// twice as long when it happens again, AVOID_MOST at most.
constexpr double LONG_WAIT = 150e3, AVOID = 20e6, AVOID_MOST = 100e6;

// ---- how many ----------------------------------------------------------------------------

inline int from_environment();
// Threads allowed by lazyops_set_threads or LAZYOPS_NUM_THREADS; 0: as many as there are.
std::atomic<int> allowed{from_environment()};
// A forked child has none of the workers: they would never answer.
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

// ---- the pool ----------------------------------------------------------------------------

inline double now() {  // ns
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) * 1e9 + double(t.tv_nsec);
}

inline void rest() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// What is left of a member's part, in one word: job << 32 | end << 16 | the piece to take next.
// A claim changes this word only, so it succeeds for a piece of that job which nobody has taken,
// whatever the thread has read before: no job takes another's pieces, none beyond the end.
struct alignas(64) Part {
  std::atomic<uint64_t> left{0};

  static uint32_t job(uint64_t word) { return uint32_t(word >> 32); }
  static int64_t end(uint64_t word) { return int64_t(word >> 16 & 0xffff); }
  static int64_t next(uint64_t word) { return int64_t(word & 0xffff); }

  void offer(uint32_t job, int64_t from, int64_t to) {
    left.store(uint64_t(job) << 32 | uint64_t(to) << 16 | uint64_t(from), std::memory_order_release);
  }
  // The next piece of this job; -1: none is left.
  int64_t claim(uint32_t mine) {
    uint64_t word = left.load(std::memory_order_acquire);
    while (job(word) == mine && next(word) < end(word))
      if (left.compare_exchange_weak(word, word + 1, std::memory_order_acq_rel)) return next(word);
    return -1;
  }
};
static_assert(2 * PIECES * MOST_THREADS < 1 << 16, "pieces are counted in 16 bits");

struct Pool {
  using Call = void (*)(const void*, int64_t, int64_t);

  alignas(64) std::atomic<uint32_t> job{0};  // the one on offer; all below is set before it
  std::atomic<int> team{0};
  std::atomic<Call> call{nullptr};
  std::atomic<const void*> what{nullptr};
  std::atomic<int64_t> count{0}, grain{1};
  Part part[MOST_THREADS];
  alignas(64) std::atomic<int64_t> done{0};  // pieces of this job
  alignas(64) std::atomic_flag busy = ATOMIC_FLAG_INIT;  // one caller at a time; others go alone
  std::atomic<int> workers{0}, asleep{0};
  pthread_t id[MOST_THREADS];
  int kept_off = -1;  // the processor that workers do not run on
  std::atomic<double> ended{0}, alone_until{0};
  double avoid = AVOID;
  pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t call_out = PTHREAD_COND_INITIALIZER;

  // Takes pieces of job `mine` as member `me` until none is left. The fields may be those of a
  // later job already; then nothing is left of this one, and no claim succeeds.
  void take(uint32_t mine, int me) {
    LAZYOPS_POOL_PREEMPTED();
    const int members = team.load(std::memory_order_relaxed);
    const Call f = call.load(std::memory_order_relaxed);
    const void* arg = what.load(std::memory_order_relaxed);
    const int64_t n = count.load(std::memory_order_relaxed), g = grain.load(std::memory_order_relaxed);
    if (me >= members) return;
    int64_t taken = 0;
    for (int k = 0; k < members; ++k) {
      Part& whose = part[me + k < members ? me + k : me + k - members];
      for (int64_t piece = whose.claim(mine); piece >= 0; piece = whose.claim(mine), ++taken)
        f(arg, piece * g, (piece + 1) * g < n ? (piece + 1) * g : n);
    }
    if (taken) done.fetch_add(taken, std::memory_order_release);
  }

  void work(int me) {
    uint32_t seen = 0;
    for (double start = now();;) {
      uint32_t mine = job.load(std::memory_order_acquire);
      for (int spin = 0; mine == seen; mine = job.load(std::memory_order_acquire)) {
        rest();
        if (++spin % 64 == 0 && now() - start > LOOK_OUT) {
          pthread_mutex_lock(&lock);
          asleep.fetch_add(1);
          while ((mine = job.load()) == seen) pthread_cond_wait(&call_out, &lock);
          asleep.fetch_sub(1);
          pthread_mutex_unlock(&lock);
          break;
        }
      }
      seen = mine;
      take(mine, me);
      start = now();
    }
  }

  // Starts workers until there are `wanted`; true if there are.
  bool grow(int wanted) {
    struct Start {
      Pool* pool;
      int me;
    };
    for (int have = workers.load(); have < wanted; have = workers.load()) {
      Start* start = new Start{this, have + 1};
      sigset_t all, before;  // signals are for Python's thread
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, &before);
      const int failed = pthread_create(&id[have], nullptr, [](void* p) -> void* {
        const Start s = *static_cast<Start*>(p);
        delete static_cast<Start*>(p);
        s.pool->work(s.me);
        return nullptr;
      }, start);
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      if (failed) {
        delete start;
        return have > 0;
      }
      pthread_detach(id[have]);
      kept_off = -1;
      workers.store(have + 1);
    }
    return true;
  }

  void offer(int members, int64_t n, int64_t g, Call f, const void* arg) {
    const uint32_t mine = job.load(std::memory_order_relaxed) + 1;
    const int64_t all = (n + g - 1) / g;
    team.store(members, std::memory_order_relaxed);
    call.store(f, std::memory_order_relaxed);
    what.store(arg, std::memory_order_relaxed);
    count.store(n, std::memory_order_relaxed);
    grain.store(g, std::memory_order_relaxed);
    done.store(0, std::memory_order_relaxed);
    LAZYOPS_POOL_PREEMPTED();
    for (int k = 0; k < members; ++k) part[k].offer(mine, all * k / members, all * (k + 1) / members);
    job.store(mine);
    if (asleep.load()) {
      keep_off();
      pthread_mutex_lock(&lock);
      pthread_cond_broadcast(&call_out);
      pthread_mutex_unlock(&lock);
    }
    const double began = now();
    take(mine, 0);
    wait_for(all, began);
  }

  void keep_off() {
#if defined(__linux__)
    const int here = sched_getcpu();
    cpu_set_t set;
    if (here < 0 || here == kept_off || sched_getaffinity(0, sizeof set, &set) != 0) return;
    if (CPU_COUNT(&set) > 1) CPU_CLR(here, &set);
    for (int k = 0; k < workers.load(); ++k) pthread_setaffinity_np(id[k], sizeof set, &set);
    kept_off = here;
#endif
  }

  void wait_for(int64_t all, double began) {
    double start = 0;
    for (int spin = 0; done.load(std::memory_order_acquire) < all;) {
      rest();
      if (++spin % 1024) continue;
      if (start == 0) start = now();
      sched_yield();
    }
    if (start == 0) return;
    const double t = now();
    if (t - start < LONG_WAIT || t - start < (start - began) / 2) return;
    const bool again = t - alone_until.load(std::memory_order_relaxed) < avoid;
    avoid = !again ? AVOID : 2 * avoid < AVOID_MOST ? 2 * avoid : AVOID_MOST;
    alone_until.store(t + avoid, std::memory_order_relaxed);
  }
};

inline Pool& pool() {
  static Pool* one = new Pool;  // workers outlive all destructors
  return *one;
}

// The team for `ns` nanoseconds of work: 1 unless more pay.
inline int team_for(double ns) {
  if (ns < AWAKE) return 1;
  const int n = threads();
  if (n <= 1) return 1;
  Pool& p = pool();
  const double alone = p.alone_until.load(std::memory_order_relaxed);
  if (alone != 0 && now() < alone) return 1;
  const bool awake = p.asleep.load(std::memory_order_relaxed) < p.workers.load(std::memory_order_relaxed);
  if (!awake && ns < ASLEEP) {
    if (ns < FOLLOWING) return 1;
    const double t = now(), before = p.ended.exchange(t, std::memory_order_relaxed);
    if (t - before > FOLLOWS) return 1;
  }
  return n < MOST_THREADS ? n : MOST_THREADS;
}

// f(from, to) over pieces of 0 .. count, each once, on at most `team` threads; `each` per piece at least.
template <class F>
void share(int64_t count, int team, const F& f, int64_t each = 1) {
  if (int64_t(team) * each > count) team = int(count / each);
  Pool& p = pool();
  if (team <= 1 || p.busy.test_and_set(std::memory_order_acquire)) {
    if (count > 0) f(0, count);
    return;
  }
  if (p.grow(team - 1)) {
    int64_t g = count / (team * PIECES);
    if (g < each) g = each;
    p.offer(team, count, g, [](const void* arg, int64_t from, int64_t to) {
      (*static_cast<const F*>(arg))(from, to);
    }, &f);
    p.ended.store(now(), std::memory_order_relaxed);
  } else {
    f(0, count);
  }
  p.busy.clear(std::memory_order_release);
}

}  // namespace

extern "C" {
void lazyops_set_threads(int n) {
  allowed.store(n < 0 ? from_environment() : n, std::memory_order_relaxed);
}
int lazyops_threads() { return threads(); }
}
