#pragma once
#include <cstddef>
#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

// Memory that a thread keeps for its next product, unless it is large. In huge pages where it can
// be: a fresh small page costs half a microsecond, and rows far apart want few of them.
struct Scratch {
  static constexpr size_t KEEP = size_t(128) << 20, HUGE_PAGE = size_t(2) << 20;
  void* p = nullptr;
  size_t size = 0;
  ~Scratch() { std::free(p); }
  void* of(size_t bytes) {
    if (bytes > size) {
      std::free(p);
      const size_t page = bytes < HUGE_PAGE / 4 ? 4096 : HUGE_PAGE;
      bytes = (bytes + page - 1) / page * page;
      p = std::aligned_alloc(page, bytes);
      size = p ? bytes : 0;
#if defined(__linux__)
      if (p && page == HUGE_PAGE) madvise(p, bytes, MADV_HUGEPAGE);
#endif
    }
    return p;
  }
  void rest() {
    if (size > KEEP) {
      std::free(p);
      p = nullptr;
      size = 0;
    }
  }
};

}  // namespace
