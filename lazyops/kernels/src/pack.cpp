// Values into the order in which a run reads them; kernels/packing.py says where each comes from.
#include "buffers.h"
#include "tile.h"
#include "threads.h"

namespace {

struct Packing {
  const I *blocks, *numbers;  // offsets in the values: of each block, of each number of a block
  I count, each;              // how many blocks, how many numbers
  I tile, at, run, every;     // numbers of a tile; number e goes to at + e / run * every + e % run
  bool conj;
};

// out (tiles, numbers, P, W): lanes beyond the last block are 0.
template <class T, int P>
void pack(const Packing& g, const T* v, T* out, I width) {
  const I tiles = (g.count + width - 1) / width;
  share(tiles, team_for(double(g.count) * double(g.each) * P), [&](I from, I to) {
    for (I t = from; t < to; ++t) {
      const I* block = g.blocks + t * width;
      const I full = g.count - t * width < width ? g.count - t * width : width;
      for (I e = 0; e < g.each; ++e) {
        T* to_ = out + (t * g.tile + g.at + e / g.run * g.every + e % g.run) * P * width;
        const T* in = v + g.numbers[e] * P;
        for (I j = 0; j < full; ++j) {
          to_[j] = in[block[j] * P];
          if (P == 2) to_[width + j] = g.conj ? -in[block[j] * P + 1] : in[block[j] * P + 1];
        }
        for (I j = full; j < width; ++j) to_[j] = to_[(P - 1) * width + j] = 0;
      }
    }
  });
}

inline bool within_reach(const PyBuffer& table, I& least, I& most) {
  if (table.ndim != 1 || table.itemsize != 8 || !c_order(table) || table.shape[0] == 0) return false;
  const I* p = static_cast<const I*>(table.buf);
  least = most = p[0];
  for (I i = 1; i < table.shape[0]; ++i) {
    if (p[i] < least) least = p[i];
    if (p[i] > most) most = p[i];
  }
  return true;
}

}  // namespace

// values: C order, any shape; out: (tiles, numbers, parts, width), real. Returns an Outcome.
extern "C" int lazyops_pack(void* values, void* blocks, void* numbers, void* out, int64_t at,
                            int64_t run, int64_t every, int conj) {
  Held v(values, 0), b(blocks, 0), n(numbers, 0), o(out, WRITABLE);
  if (!(v.held && b.held && n.held && o.held)) return failed;
  Type type, real;
  if (!type_of(v.b, type) || !type_of(o.b, real)) return bad_dtype;
  const bool pair = type == Type::c64 || type == Type::c128, wide = type == Type::f64 || type == Type::c128;
  if (real != (wide ? Type::f64 : Type::f32)) return bad_dtype;
  if (!c_order(v.b) || !c_order(o.b)) return bad_order;
  I low[2], high[2];
  if (o.b.ndim != 4 || o.b.shape[2] != 1 + pair || !within_reach(b.b, low[0], high[0]) ||
      !within_reach(n.b, low[1], high[1]))
    return bad_sizes;
  const I width_of = o.b.shape[3], each = n.b.shape[0], count = b.b.shape[0];
  if (width_of < 1 || low[0] + low[1] < 0 || high[0] + high[1] >= v.b.len / v.b.itemsize || at < 0 || run < 1 ||
      every < run || at + (each - 1) / run * every + (each - 1) % run >= o.b.shape[1] ||
      o.b.shape[0] != (count + width_of - 1) / width_of)
    return bad_sizes;
  const Packing g{static_cast<const I*>(b.b.buf), static_cast<const I*>(n.b.buf), count, each,
                  o.b.shape[1], at, run, every, conj != 0};
  void* state = save_thread();
  switch (type) {
    case Type::f32: pack<float, 1>(g, static_cast<const float*>(v.b.buf), static_cast<float*>(o.b.buf), width_of); break;
    case Type::f64: pack<double, 1>(g, static_cast<const double*>(v.b.buf), static_cast<double*>(o.b.buf), width_of); break;
    case Type::c64: pack<float, 2>(g, static_cast<const float*>(v.b.buf), static_cast<float*>(o.b.buf), width_of); break;
    case Type::c128: pack<double, 2>(g, static_cast<const double*>(v.b.buf), static_cast<double*>(o.b.buf), width_of); break;
  }
  restore_thread(state);
  return done;
}
