// Runs the CUDA text of the package on a CPU: one block at a time, a thread is a fibre.
//
// In front of the text; g++ compiles both with -fsanitize=thread, whose calls emulator.cpp answers.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define SHARED_SECTION __attribute__((section("emulated_shared")))
#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __shared__ SHARED_SECTION static
#define __align__(n) __attribute__((aligned(n)))
#define DEVICE static inline
#define DEVICE_MEMBER inline
#define SHARED_BYTES(name) unsigned char* name = emulator::shared_bytes
#define __syncthreads emulator::barrier

struct Triple { unsigned x, y, z; };
extern Triple threadIdx, blockIdx;
SHARED_SECTION __attribute__((used)) static int always_there;
extern "C" char __start_emulated_shared[] __attribute__((visibility("hidden")));
extern "C" char __stop_emulated_shared[] __attribute__((visibility("hidden")));

namespace emulator {

// Blocks first .. stop - 1 of a grid. trace: whether accounts of instructions are kept; element: bytes
// of a number in shared memory; whole: whether results are to be written once each.
struct Request {
  int64_t first, stop, shared;
  int32_t threads, order, trace, element, regions, whole;
};
// An array that a launch may touch; `element` are the bytes of a number.
struct Region {
  const char* begin;
  int64_t bytes;
  int32_t element, role;
};
struct Work {
  void (*run)(const void*);
  const void* of;
  char *shared_begin, *shared_end;
};

extern unsigned char* shared_bytes;
extern bool inside;  // the text of a kernel, and not the emulator
void access(const void* p, int size, size_t alignment, bool write);
void barrier();
int run(const Work& work, const Request& q, const Region* given);

// Calls a kernel with its arguments given by address, as the driver does.
template <class... P> __attribute__((no_sanitize_thread)) void start(void (*f)(P...), P... p) {
  inside = true;
  f(p...);
  inside = false;
}
template <class... P, size_t... I>
int call(void (*f)(P...), void** arguments, std::index_sequence<I...>, const Request& q, const Region* given) {
  const auto kernel = [=] { start<P...>(f, *static_cast<std::remove_const_t<P>*>(arguments[I])...); };
  const auto run_it = [](const void* of) { (*static_cast<const decltype(kernel)*>(of))(); };
  return run({run_it, &kernel, __start_emulated_shared, __stop_emulated_shared}, q, given);
}
template <class... P>
int call(void (*f)(P...), void** arguments, const Request& q, const Region* given) {
  return call(f, arguments, std::index_sequence_for<P...>{}, q, given);
}

}  // namespace emulator
