// The gradients of a run in one kernel: of x, and of the values of every factor.
//
// With z_0 = x, z_l = F_l z_(l-1), and g of the result given: g_(l-1) = F_l^H g_l, and the gradient of
// V_l[i, r, s, k] is the sum over columns of g_l[(i, r, k)] conj(z_(l-1)[(i, s, k)]). A block recomputes the z_l of a tile,
// all kept in shared memory, and goes back; it walks over the columns, every STRIDE-th tile of
// them, and keeps the gradients of values in registers meanwhile: PARTS partial sums leave it, which the
// host adds up. So the order of sums is fixed, and bits do not depend on how blocks are scheduled.
// Uses the tiles of chain.cuh.

struct Gradients {
  A* values[STAGE_COUNT];  // (parts, a, b, c, d) each, or null where none is wanted
};

// The gradient of the values of a stage, from its input z and the gradient g of its output.
template <int AI, int B, int C, int DI, int KEPT>
DEVICE void sum_values(A (&kept)[KEPT][B][C], const S* z, const S* g) {
  constexpr int BLOCKS = AI * DI * TILE_K;
#pragma unroll
  for (int q = 0; q < KEPT; ++q) {
    const int t = threadIdx.x + q * THREADS;
    if (t >= BLOCKS) break;
    const int k = t % TILE_K, block = t / TILE_K, ai = block / DI, di = block % DI;
#pragma unroll 1
    for (int n = 0; n < TILE_N; ++n) {
      A u[C];
#pragma unroll
      for (int s = 0; s < C; ++s) u[s] = conj(up(z[place(ai * C * DI + s * DI + di, k, n)]));
#pragma unroll
      for (int r = 0; r < B; ++r) {
        const A w = up(g[place(ai * B * DI + r * DI + di, k, n)]);
#pragma unroll
        for (int s = 0; s < C; ++s) multiply_add(kept[q][r][s], w, u[s]);
      }
    }
  }
}

template <int AI, int B, int C, int DI, int KEPT>
DEVICE void leave_values(const A (&kept)[KEPT][B][C], A* to, u32 part, u32 i, u32 k0, const Extent& is) {
  if (!to) return;
  constexpr int BLOCKS = AI * DI * TILE_K;
  const i64 d = i64(DI) * is.inner;
  to += part * (i64(is.outer) * AI * (B * C) * d);
#pragma unroll
  for (int q = 0; q < KEPT; ++q) {
    const int t = threadIdx.x + q * THREADS;
    if (t >= BLOCKS) break;
    const int k = t % TILE_K, block = t / TILE_K, ai = block / DI, di = block % DI;
    if (k0 + k >= is.inner) continue;
    const i64 at = (i64(i) * AI + ai) * (B * C) * d + i64(di) * is.inner + k0 + k;
#pragma unroll
    for (int r = 0; r < B; ++r)
#pragma unroll
      for (int s = 0; s < C; ++s) to[at + (r * C + s) * d] = kept[q][r][s];
  }
}

#if defined(KERNEL_GRADIENT)
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gradient(const X* __restrict__ x, const Y* __restrict__ g, X* __restrict__ gx, const Run run, const Gradients to,
         const Extent is, const int* __restrict__ perm, const int* __restrict__ scatter, u32 parts) {
  SHARED_BYTES(bytes);
  S* z = (S*)bytes;  // z_0 .. z_(STAGE_COUNT - 1), then the gradient
  S *in = z + STAGE_COUNT * BUFFER, *out = IN_PLACE ? in : in + BUFFER;
  const u32 part = blockIdx.x % parts, of_k = (is.inner + TILE_K - 1) / TILE_K;
  const u32 k0 = blockIdx.x / parts % of_k * TILE_K, i = blockIdx.x / parts / of_k;
#define STAGE(number, AI, B, C, DI, T)                                                \
  constexpr int KEPT##number = (AI * DI * TILE_K + THREADS - 1) / THREADS;            \
  A kept##number[KEPT##number][B][C];                                                 \
  for (int q = 0; q < KEPT##number; ++q)                                              \
    for (int r = 0; r < B; ++r)                                                       \
      for (int s = 0; s < C; ++s) clear(kept##number[q][r][s]);
  STAGES
#undef STAGE
  for (u64 n0 = u64(part) * TILE_N; n0 < is.columns; n0 += u64(parts) * TILE_N) {
    __syncthreads();
    load<FIRST_ROWS>(z, x, i, k0, u32(n0), is, is.x_row, is.x_column, PERMUTED ? perm : nullptr);
    load<LAST_ROWS>(in, g, i, k0, u32(n0), is, is.y_row, is.y_column, SCATTERED ? scatter : nullptr);
    __syncthreads();
#define STAGE(number, AI, B, C, DI, T)                                                                        \
  if (number + 1 < STAGE_COUNT) {                                                                             \
    stage<AI, B, C, DI, T>(z + number * BUFFER, z + (number + 1) * BUFFER, run.factor[number], i, k0, is);    \
    __syncthreads();                                                                                          \
  }
    STAGES
#undef STAGE
#define STAGE(number, AI, B, C, DI, T)                                                     \
  if (to.values[number]) sum_values<AI, B, C, DI>(kept##number, z + number * BUFFER, in);  \
  if (number > 0 || gx) {                                                                  \
    __syncthreads();                                                                       \
    Factor<V> f = run.factor[number];                                                      \
    f.conjugated = !f.conjugated;                                                          \
    stage<AI, C, B, DI, !T>(in, out, f, i, k0, is);                                        \
    __syncthreads();                                                                       \
    { S* other = in; in = out; out = other; }                                              \
  }
    REVERSED
#undef STAGE
    if (gx) store<FIRST_ROWS>(in, gx, i, k0, u32(n0), is, is.x_row, is.x_column, PERMUTED ? perm : nullptr);
  }
#define STAGE(number, AI, B, C, DI, T) leave_values<AI, B, C, DI>(kept##number, to.values[number], part, i, k0, is);
  STAGES
#undef STAGE
}
#endif
