// What types.cuh takes from a device: aligned accesses and conversions.
template <class P> DEVICE const P& at(const void* p) {
  emulator::access(p, sizeof(P), alignof(P), false);
  return *static_cast<const P*>(p);
}
template <class P> DEVICE P& at(void* p) {
  emulator::access(p, sizeof(P), alignof(P), true);
  return *static_cast<P*>(p);
}
DEVICE float as_float(u32 bits) {
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
DEVICE float up(f16 h) {
  _Float16 f;
  std::memcpy(&f, &h, 2);
  return float(f);
}
DEVICE void down(f16& o, float v) {
  const _Float16 f = _Float16(v);
  std::memcpy(&o, &f, 2);
}
DEVICE void down(bf16& o, float v) {
  u32 u;
  std::memcpy(&u, &v, 4);
  o.bits = (u & 0x7fffffff) > 0x7f800000 ? u16(0x7fff) : u16((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
