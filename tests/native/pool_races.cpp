// The thread pool under ThreadSanitizer, by itself: many callers share out work of all sizes at
// once, with workers that sleep in between, and read what the pieces wrote without another lock.
// Every number of every job must be visited once. Built and run by .ci/sanitize.
#include <sched.h>
#include <time.h>

// A worker loses its core between what it reads of a job, until the job and the next are over.
inline void preempted() {
  static thread_local unsigned turn = 0;
  if (++turn % 16 == 0) {
    timespec pause{0, 20'000};
    nanosleep(&pause, nullptr);
  }
}
#define LAZYOPS_POOL_PREEMPTED() preempted()
#include "../../lazyops/kernels/src/threads.h"

#include <cstdio>
#include <random>
#include <thread>
#include <vector>

namespace {

constexpr int CALLERS = 4, JOBS = 1500;

// Jobs of one caller; how many numbers were not visited exactly once.
int64_t jobs_of(unsigned seed) {
  std::mt19937 random(seed);
  int64_t wrong = 0;
  for (int job = 0; job < JOBS; ++job) {
    const int64_t count = random() % 300, each = 1 + random() % 3;
    const int team = 1 + int(random() % 6);
    std::vector<int> visits(size_t(count), 0);
    std::vector<int64_t> product(size_t(count), 0);
    share(count, team, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        visits[size_t(i)] += 1;
        product[size_t(i)] = i * int64_t(seed);
      }
    }, each);
    for (int64_t i = 0; i < count; ++i) wrong += visits[size_t(i)] != 1 || product[size_t(i)] != i * int64_t(seed);
    if (random() % 100 == 0) {  // until workers fall asleep
      timespec pause{0, 300'000};
      nanosleep(&pause, nullptr);
    }
    if (random() % 50 == 0) lazyops_set_threads(int(random() % 4));
    (void)team_for(double(random() % 1'000'000));
  }
  return wrong;
}

}  // namespace

int main() {
  std::vector<std::thread> callers;
  std::vector<int64_t> wrong(CALLERS, 0);
  for (int c = 0; c < CALLERS; ++c) callers.emplace_back([&wrong, c] { wrong[size_t(c)] = jobs_of(unsigned(c) + 1); });
  for (auto& caller : callers) caller.join();
  int64_t all = jobs_of(99);  // a lone caller has the workers for itself
  for (const int64_t n : wrong) all += n;
  std::printf("%d jobs of %d callers, %d workers, %lld numbers not visited once\n", JOBS * (CALLERS + 1), CALLERS + 1,
              pool().workers.load(), static_cast<long long>(all));
  return all != 0 || pool().workers.load() == 0;
}
