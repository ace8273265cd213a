// Sums of shifted copies of a vector, in one pass: stencils away from the ends.
#include "buffers.h"
#include "lanes.h"
#include "threads.h"

namespace {

constexpr I MOST_TERMS = 64;
constexpr I SHIFT_TASK = 1 << 14;  // numbers

template <class T>
struct Terms {
  T weight[MOST_TERMS], scale;
  I offset[MOST_TERMS], number;
};

// y[l] = scale * sum_j weight[j] x[l + offset[j]], U vectors of W numbers at once
template <class T, int W = BYTES / sizeof(T), int U = 4>
inline void add_shifted(const T* x, const Terms<T>& g, T* y, I count) {
  using L = Lanes<T, W>;
  const auto scale = L::splat(g.scale);
  I l = 0;
  for (; l + U * W <= count; l += U * W) {
    typename L::V s[U] = {};
    for (I j = 0; j < g.number; ++j) {
      const auto w = L::splat(g.weight[j]);
      const T* p = x + l + g.offset[j];
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u) s[u] = s[u] + w * L::load(p + u * W);
    }
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u) L::store(y + l + u * W, scale * s[u]);
  }
  if (l == count) return;
  if constexpr (U > 1) add_shifted<T, W, 1>(x + l, g, y + l, count - l);
  else if constexpr (W > 1) add_shifted<T, W / 2, 1>(x + l, g, y + l, count - l);
}

struct Shifts {
  Held x, y, offsets, weights;
  Shifts(void* x, void* y, void* offsets, void* weights)
      : x(x, 0), y(y, WRITABLE), offsets(offsets, 0), weights(weights, 0) {}

  bool held() const { return x.held && y.held && offsets.held && weights.held; }

  // All that y[start .. stop) reads lies inside x.
  Outcome check(I start, I stop, Type& type) const {
    Type ty, tw;
    if (!type_of(x.b, type) || !type_of(y.b, ty) || !type_of(weights.b, tw) || ty != type ||
        tw != Type::f64 || (type != Type::f32 && type != Type::f64) || offsets.b.itemsize != 8)
      return bad_dtype;
    for (const PyBuffer* b : {&x.b, &y.b, &offsets.b, &weights.b}) {
      if (b->ndim != 1) return bad_sizes;
      if (!c_order(*b)) return bad_order;
    }
    const I number = offsets.b.shape[0], n = x.b.shape[0];
    if (number > MOST_TERMS || weights.b.shape[0] != number + 1) return bad_sizes;
    if (start < 0 || start > stop || stop > y.b.shape[0]) return bad_sizes;
    const I* o = static_cast<const I*>(offsets.b.buf);
    for (I j = 0; j < number; ++j)
      if (o[j] < -start || o[j] > n - stop) return bad_sizes;
    return done;
  }

  template <class T>
  void run(I start, I stop) const {
    Terms<T> g;
    g.number = offsets.b.shape[0];
    const double* w = static_cast<const double*>(weights.b.buf);
    for (I j = 0; j < g.number; ++j) {
      g.offset[j] = static_cast<const I*>(offsets.b.buf)[j];
      g.weight[j] = T(w[j]);
    }
    g.scale = T(w[g.number]);
    const T* from = static_cast<const T*>(x.b.buf);
    T* into = static_cast<T*>(y.b.buf);
    const I tasks = (stop - start + SHIFT_TASK - 1) / SHIFT_TASK;
    const double ns = double(stop - start) * (0.3 + 0.05 * double(g.number));
    share(tasks, team_for(ns), [&](I first, I last) {
      for (I t = first; t < last; ++t) {
        const I a = start + t * SHIFT_TASK;
        add_shifted<T>(from + a, g, into + a, stop - a < SHIFT_TASK ? stop - a : SHIFT_TASK);
      }
    });
  }
};

}  // namespace

extern "C" {

// y[i] = scale * sum_j weights[j] x[i + offsets[j]] for start <= i < stop; `weights` ends with the scale
int lazyops_add_shifted(void* x, void* y, void* offsets, void* weights, int64_t start, int64_t stop) {
  const Shifts s(x, y, offsets, weights);
  if (!s.held()) return failed;
  Type type;
  const Outcome outcome = s.check(start, stop, type);
  if (outcome != done) return outcome;
  const bool release = double(stop - start) > LONG;
  void* state = release ? save_thread() : nullptr;
  if (type == Type::f32) s.run<float>(start, stop);
  else s.run<double>(start, stop);
  if (release) restore_thread(state);
  return done;
}
}
