// Values into the order in which a run reads them; kernels/packing.py says where each comes from.
#include "buffers.h"
#include "tile.h"
#include "threads.h"

namespace {

struct Packing {
  const I *blocks, *numbers;  // offsets in the values: of each block, of each number of a block
  I count, each;              // how many blocks, how many numbers
  I tile, at, run, every;     // from tile to tile of `out`, in its items; number e of a block
  bool conj;                  // goes to at + e / run * every + e % run

  INLINE I place(I e) const { return at + e / run * every + e % run; }
};

// out (tiles, numbers, P, W): lanes beyond the last block are 0.
template <class T, int P>
void pack(const Packing& g, const T* v, T* out, I width) {
  const I tiles = (g.count + width - 1) / width;
  share(tiles, team_for(double(g.count) * double(g.each) * P), [&](I from, I to) {
    for (I t = from; t < to; ++t) {
      const I* block = g.blocks + t * width;
      const I full = g.count - t * width < width ? g.count - t * width : width;
      I place = g.at, left = g.run;  // of number e: as g.place(e), without divisions
      for (I e = 0; e < g.each; ++e, ++place) {
        if (left-- == 0) place += g.every - g.run, left = g.run - 1;
        T* to_ = out + t * g.tile + place * P * width;
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

// Codes as they are held, a stream of `bits` for each: little end first.
struct Stream {
  const unsigned char* p;
  I bits;
  INLINE uint32_t operator[](I i) const {
    if (bits == 8) return p[i];
    if (bits == 16) return p[2 * i] | uint32_t(p[2 * i + 1]) << 8;
    const I at = i * bits >> 3, end = (i * bits + bits + 7) >> 3;
    uint32_t word = 0;
    for (I k = at; k < end; ++k) word |= uint32_t(p[k]) << (8 * (k - at));
    return word >> (i * bits & 7) & ((1u << bits) - 1);
  }
};

// Words of 32 / room codes, or halves: see coding.h. `out` is zero; a code lies at the high end of
// its room.
inline void pack_codes(const Packing& g, const Stream& codes, bool pair, I parts, I room, bool halves,
                       uint32_t* out, I width) {
  const I tiles = (g.count + width - 1) / width, per = 32 / room;
  share(tiles, team_for(double(g.count) * double(g.each) * double(parts)), [&](I from, I to) {
    for (I t = from; t < to; ++t) {
      const I* block = g.blocks + t * width;
      const I full = g.count - t * width < width ? g.count - t * width : width;
      for (I e = 0; e < g.each; ++e)
        for (I part = 0; part < 1 + pair; ++part) {
          const I slot = g.place(e) * parts + part;
          if (halves) {
            uint16_t* half = reinterpret_cast<uint16_t*>(out + t * g.tile) + slot * width;
            for (I j = 0; j < full; ++j)
              half[j] = uint16_t(codes[(block[j] + g.numbers[e]) * (1 + pair) + part] << (room - codes.bits));
            continue;
          }
          uint32_t* word = out + t * g.tile + slot / per * width;
          const I left = slot % per * room + room - codes.bits;
          for (I j = 0; j < full; ++j)
            word[j] |= codes[(block[j] + g.numbers[e]) * (1 + pair) + part] << left;
        }
    }
  });
}

// (tiles, numbers, parts, width), each tile in C order; tiles may be further apart.
inline bool tiles_in_order(const PyBuffer& b) {
  if (b.ndim != 4 || b.strides[0] % b.itemsize) return false;
  intptr_t step = b.itemsize;
  for (int i = 3; i > 0; step *= b.shape[i--])
    if (b.shape[i] != 1 && b.strides[i] != step) return false;
  return b.shape[0] <= 1 || b.strides[0] >= step;
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

// What a packing touches, against what there is: codes or numbers `held`, places in a tile.
inline bool fits(const Packing& g, const I low[2], const I high[2], I held, I width, I places, I tiles) {
  return width >= 1 && low[0] + low[1] >= 0 && high[0] + high[1] < held && g.at >= 0 && g.run >= 1 &&
         g.every >= g.run && g.place(g.each - 1) < places && tiles == (g.count + width - 1) / width;
}

// values: C order, any shape; out: (tiles, numbers, parts, width), real. Returns an Outcome.
extern "C" int lazyops_pack(void* values, void* blocks, void* numbers, void* out, int64_t at,
                            int64_t run, int64_t every, int conj) {
  Held v(values, 0), b(blocks, 0), n(numbers, 0), o(out, WRITABLE);
  if (!(v.held && b.held && n.held && o.held)) return failed;
  Type type, real;
  if (!type_of(v.b, type) || !type_of(o.b, real)) return bad_dtype;
  const bool pair = type == Type::c64 || type == Type::c128, wide = type == Type::f64 || type == Type::c128;
  if (real != (wide ? Type::f64 : Type::f32)) return bad_dtype;
  if (!c_order(v.b) || !tiles_in_order(o.b)) return bad_order;
  I low[2], high[2];
  if (o.b.shape[2] != 1 + pair || !within_reach(b.b, low[0], high[0]) || !within_reach(n.b, low[1], high[1]))
    return bad_sizes;
  const Packing g{static_cast<const I*>(b.b.buf), static_cast<const I*>(n.b.buf), b.b.shape[0], n.b.shape[0],
                  o.b.strides[0] / o.b.itemsize, at, run, every, conj != 0};
  const I width_of = o.b.shape[3];
  if (!fits(g, low, high, v.b.len / v.b.itemsize, width_of, o.b.shape[1], o.b.shape[0])) return bad_sizes;
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

// codes: C order, a stream of `bits` each, two for a value where `pair`; out: words (tiles, words, 1,
// width), zero, of `room` bits for a code and `parts` codes for a value. `halves`: of 16 bits, not in
// words. Returns an Outcome.
extern "C" int lazyops_pack_codes(void* codes, void* blocks, void* numbers, void* out, int64_t at, int64_t run,
                                  int64_t every, int64_t bits, int64_t room, int pair, int64_t parts, int halves) {
  Held v(codes, 0), b(blocks, 0), n(numbers, 0), o(out, WRITABLE);
  if (!(v.held && b.held && n.held && o.held)) return failed;
  if (std::strcmp(o.b.format, "I") || o.b.itemsize != 4) return bad_dtype;
  if (!c_order(v.b) || !tiles_in_order(o.b)) return bad_order;
  I low[2], high[2];
  if (o.b.shape[2] != 1 || !within_reach(b.b, low[0], high[0]) || !within_reach(n.b, low[1], high[1]) || bits < 1 ||
      bits > room || (room != 4 && room != 8 && room != 16) || parts < 1 + (pair != 0) || parts > 2 || (halves && room != 16))
    return bad_sizes;
  const Packing g{static_cast<const I*>(b.b.buf), static_cast<const I*>(n.b.buf), b.b.shape[0], n.b.shape[0],
                  o.b.strides[0] / 4, at, run, every, false};
  const I width_of = o.b.shape[3], held = v.b.len * 8 / bits / (1 + (pair != 0));
  if (!fits(g, low, high, held, width_of, o.b.shape[1] * (32 / room) / parts, o.b.shape[0])) return bad_sizes;
  void* state = save_thread();
  pack_codes(g, Stream{static_cast<const unsigned char*>(v.b.buf), bits}, pair != 0, parts, room,
             halves != 0, static_cast<uint32_t*>(o.b.buf), width_of);
  restore_thread(state);
  return done;
}
