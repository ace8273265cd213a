// What a kernel does to memory, seen by the calls that g++ puts at every access with
// -fsanitize=thread; its own library is not linked, the calls end in emulator.cpp.
//
// Every access has to lie in an array that the launch was given, in shared memory or on the stack;
// bytes of a result are written once each; between two barriers no word of shared memory is written
// by one thread and touched by another. Where a trace is asked for, accesses of a warp's lanes at
// one place of the code, for the same time, are one instruction: sectors of global memory and
// conflicts of banks are counted as a device has them.
#pragma once
#include <algorithm>
#include <array>
#include <map>
#include <tuple>
#include <vector>

#include "emulator.h"

namespace emulator {

enum Error { BARRIER = 1, UNALIGNED = 2, OUTSIDE = 4, RACE = 8, TWICE = 16, UNWRITTEN = 32 };
enum Role { READ, WRITTEN, VALUES, INDEX, SHARED };

// Of one role: bytes that lanes asked for, and those of the sectors (or the turns of the banks)
// that this takes. For shared memory: turns at best, and turns that banks take.
struct Account { int64_t asked, taken, worst, counted; };

struct Word { int turn = -1, writer = -1, reader = -1; };
struct Event {
  const void* site;
  const char* begin;
  int size, thread, region, time;
};
struct Cover { const char *begin, *end; };

static bool tracing, whole;
static int errors, turn, element_of_sums;
static std::vector<Region> regions;
static std::vector<std::vector<unsigned char>> written;
static std::vector<Word> words;
static std::vector<Event> events;
static std::vector<int> last;        // event of each thread
static std::vector<Cover> covers;    // of each thread, by its last whole access
static std::array<Account, 5> accounts;
static const char *shared_begin, *shared_end;  // arrays that a kernel declares
static const char *pool_begin, *pool_end, *stack_begin, *stack_end;

[[noreturn]] static void give_up();  // the thread ends here
static int thread_now();
static bool is_register(const void* p);

static void race(size_t word, bool write, int me) {
  if (word >= words.size()) words.resize(word + 1);
  Word& w = words[word];
  if (w.turn != turn) w = {turn, -1, -1};
  const bool others_wrote = w.writer >= 0 && w.writer != me, others_read = w.reader != -1 && w.reader != me;
  if (others_wrote || (write && others_read)) errors |= RACE;
  if (write) w.writer = me;
  else w.reader = w.reader == -1 || w.reader == me ? me : -2;
}

static void mark_written(int region, const char* p, int size) {
  if (!whole) return;
  for (int64_t b = p - regions[region].begin, end = b + size; b < end; ++b)
    if (written[region][b]++) errors |= TWICE;
}

static void note(const void* site, const char* p, int size, int region, int element, int me) {
  if (last[me] >= 0) {  // halves of one number
    Event& before = events[last[me]];
    if (before.region == region && before.begin + before.size == p && before.size + size <= element &&
        reinterpret_cast<uintptr_t>(before.begin) % element == 0) {
      before.size += size;
      return;
    }
  }
  last[me] = int(events.size());
  events.push_back({site, p, size, me, region, 0});
}

static int region_of(const char* p, int size, bool write) {
  for (size_t r = 0; r < regions.size(); ++r)
    if (p >= regions[r].begin && p + size <= regions[r].begin + regions[r].bytes &&
        (!write || regions[r].role == WRITTEN)) return int(r);
  return -1;
}

static void see(const void* site, const char* p, int size, bool write) {
  const int me = thread_now();
  if ((p >= stack_begin && p < stack_end) || is_register(p)) return;
  if (p >= covers[me].begin && p + size <= covers[me].end) {
    return;  // seen as part of a whole access
  }
  const bool in_pool = p >= pool_begin && p + size <= pool_end;
  if (in_pool || (p >= shared_begin && p + size <= shared_end)) {
    const char* from = in_pool ? pool_begin : shared_begin;
    for (int b = 0; b < size; b += 4) race(size_t(p - from + b) / 4, write, me);
    if (tracing) note(site, p, size, -1, element_of_sums, me);
    return;
  }
  const int region = region_of(p, size, write);
  if (region < 0) {
    errors |= OUTSIDE;
    give_up();
  }
  if (regions[region].role == WRITTEN && write) mark_written(region, p, size);
  accounts[regions[region].role].counted += size;
  if (tracing) note(site, p, size, region, regions[region].element, me);
}

static void touched(const void* site, const void* p, int size, bool write) {
  if (!inside) return;
  inside = false;
  see(site, static_cast<const char*>(p), size, write);
  inside = true;
}

void access(const void* p, int size, size_t alignment, bool write) {
  if (reinterpret_cast<uintptr_t>(p) % alignment) errors |= UNALIGNED;
  if (!inside) return;
  inside = false;
  const char* begin = static_cast<const char*>(p);
  see(__builtin_return_address(0), begin, size, write);
  covers[thread_now()] = {begin, begin + size};
  inside = true;
}

// ---- instructions of warps -------------------------------------------------------------------

static void account_banks(const std::vector<Event>& lanes) {
  std::map<int, std::vector<std::vector<intptr_t>>> phases;  // 128 bytes of lanes go at once
  for (const Event& e : lanes) {
    auto& banks = phases[e.thread % 32 / (e.size <= 4 ? 32 : 128 / e.size)];
    banks.resize(32);
    for (int b = 0; b < e.size; b += 4) {
      const intptr_t word = reinterpret_cast<intptr_t>(e.begin + b) / 4;
      auto& bank = banks[word % 32];
      if (std::find(bank.begin(), bank.end(), word) == bank.end()) bank.push_back(word);
    }
  }
  Account& all = accounts[SHARED];
  for (const auto& [_, banks] : phases) {
    int64_t most = 0, count = 0;
    for (const auto& bank : banks) most = std::max<int64_t>(most, bank.size()), count += bank.size();
    all.asked += (count + 31) / 32;
    all.taken += most;
    all.worst = std::max(all.worst, most / std::max<int64_t>(1, (count + 31) / 32));
  }
}

static void account_sectors(const std::vector<Event>& lanes) {
  const Region& region = regions[lanes[0].region];
  std::vector<int64_t> sectors;
  std::vector<std::pair<int64_t, int>> asked;
  for (const Event& e : lanes) {
    const int64_t at = e.begin - region.begin;  // arrays of a device begin with a sector
    asked.push_back({at, e.size});
    for (int64_t s = at / 32; s <= (at + e.size - 1) / 32; ++s) sectors.push_back(s);
  }
  for (auto* both : {&sectors}) {
    std::sort(both->begin(), both->end());
    both->erase(std::unique(both->begin(), both->end()), both->end());
  }
  std::sort(asked.begin(), asked.end());
  asked.erase(std::unique(asked.begin(), asked.end()), asked.end());
  Account& all = accounts[region.role];
  for (const auto& [_, size] : asked) all.asked += size;
  all.taken += 32 * int64_t(sectors.size());
}

// The accesses of a block, as instructions of its warps.
static void account() {
  std::map<std::pair<int, const void*>, int> times;
  for (Event& e : events) e.time = times[{e.thread, e.site}]++;
  const auto key = [](const Event& e) { return std::make_tuple(e.thread / 32, e.site, e.time, e.region); };
  std::sort(events.begin(), events.end(), [&](const Event& a, const Event& b) { return key(a) < key(b); });
  for (size_t from = 0, to; from < events.size(); from = to) {
    for (to = from; to < events.size() && key(events[to]) == key(events[from]);) ++to;
    const std::vector<Event> lanes(events.begin() + from, events.begin() + to);
    if (lanes[0].region < 0) account_banks(lanes);
    else account_sectors(lanes);
  }
  events.clear();
}

}  // namespace emulator
