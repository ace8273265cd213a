// Best rank-one approximations of many small blocks at once, one block in each lane, in double
// precision. The same steps and the same proof as in split_rows.h; a block that is not settled by
// them, or whose numbers are too small to be squared, is left to the caller (lower < 0).
#pragma once
#include "split_rows.h"

namespace {

template <int P>
struct LaneBlocks {
  typedef Vec<double> V;
  static constexpr int W = width<double>, MOST_STEPS = 256;
  static constexpr double UNIT = std::numeric_limits<double>::epsilon() * P;
  const I b, c;
  V *const t, *const u, *const v, *const w;  // (b, c), b, c, c numbers of P vectors each

  static I bytes(I b, I c) { return I(sizeof(V)) * P * (b * c + std::max(b, c) + 2 * c); }

  LaneBlocks(void* at, I b, I c)
      : b(b), c(c), t(static_cast<V*>(at)), u(t + P * b * c), v(u + P * std::max(b, c)), w(v + P * c) {}

  static V squares(const V* x, I count) {
    V s = {};
    for (I l = 0; l < P * count; ++l) s += x[l] * x[l];
    return s;
  }
  static V root(V x) {
    for (int j = 0; j < W; ++j) x[j] = std::sqrt(x[j]);
    return x;
  }
  static V most(V x, V y) { return x > y ? x : y; }
  static void times(V* x, I count, V by) {
    for (I l = 0; l < P * count; ++l) x[l] *= by;
  }

  // u = T v, w = T^H u
  void gram() const {
    for (I l = 0; l < P * c; ++l) w[l] = V{};
    for (I j = 0; j < b; ++j) {
      const V* row = t + j * c * P;
      V re = {}, im = {};
      for (I l = 0; l < c; ++l) {
        re += row[P * l] * v[P * l];
        if (P == 2) {
          re -= row[2 * l + 1] * v[2 * l + 1];
          im += row[2 * l] * v[2 * l + 1];
          im += row[2 * l + 1] * v[2 * l];
        }
      }
      u[P * j] = re;
      if (P == 2) u[2 * j + 1] = im;
      for (I l = 0; l < c; ++l) {
        w[P * l] += row[P * l] * re;
        if (P == 2) {
          w[2 * l] += row[2 * l + 1] * im;
          w[2 * l + 1] += row[2 * l] * im;
          w[2 * l + 1] -= row[2 * l + 1] * re;
        }
      }
    }
  }

  // v = the largest row, conjugated, of norm 1; returns |T|^2
  V start() const {
    const V one = Lane<double>::splat(1);
    V energy = {}, top = -one;
    for (I j = 0; j < b; ++j) {
      const V e = squares(t + j * c * P, c);
      energy += e;
      const auto more = e > top;
      top = more ? e : top;
      for (I l = 0; l < P * c; ++l) v[l] = more ? (P == 2 && (l & 1) ? -t[j * c * P + l] : t[j * c * P + l]) : v[l];
    }
    times(v, c, one / root(top > V{} ? top : one));
    return energy;
  }

  // One Gram step; whether all lanes are settled.
  bool step(V energy) const {
    const V one = Lane<double>::splat(1);
    gram();
    const V rho = squares(u, b), next2 = squares(w, c);
    const V next = next2 / (rho > V{} ? rho : one);
    for (I l = 0; l < P * c; ++l) v[l] = w[l];
    times(v, c, one / root(next2 > V{} ? next2 : one));
    const V gain = most(next - rho, V{}), rest = most(energy - next, energy * (8 * UNIT));
    bool settled = true;
    for (int j = 0; j < W; ++j) {
      const double ratio = rest[j] / next[j];
      const double excess = gain[j] * ratio * ratio * rest[j];  // over next - rest: after one more
      settled &= excess <= 0.1 * EXACT * energy[j] * (next[j] - rest[j]) ||
                 !(gain[j] > 2 * UNIT * energy[j]);
    }
    return settled;
  }

  // |T - u w^T|^2
  V tail() const {
    V s = {};
    for (I j = 0; j < b; ++j)
      for (I l = 0; l < c; ++l) {
        const V* x = t + (j * c + l) * P;
        V e = x[0] - u[P * j] * w[P * l];
        if (P == 2) {
          e += u[2 * j + 1] * w[2 * l + 1];
          const V f = x[P - 1] - u[2 * j] * w[2 * l + 1] - u[2 * j + 1] * w[2 * l];
          s += f * f;
        }
        s += e * e;
      }
    return s;
  }

  // Frobenius norm of T T^H or T^H T, whichever is smaller
  V gram_norm() const {
    const bool by_rows = b <= c;
    const I n = by_rows ? b : c, m = by_rows ? c : b, own = P * (by_rows ? c : 1), along = P * (by_rows ? 1 : c);
    V total = {};
    for (I i = 0; i < n; ++i)
      for (I j = i; j < n; ++j) {
        V re = {}, im = {};
        for (I l = 0; l < m; ++l) {
          const V *x = t + i * own + l * along, *y = t + j * own + l * along;
          re += x[0] * y[0];
          if (P == 2) {
            re += x[P - 1] * y[P - 1];
            im += x[P - 1] * y[0];
            im -= x[0] * y[P - 1];
          }
        }
        total += (re * re + im * im) * Lane<double>::splat(i == j ? 1 : 2);
      }
    return root(total);
  }

  // Leaves u and w with T ~ u w^T, |u| = 1.
  void operator()(Facts* facts) const {
    const V one = Lane<double>::splat(1), energy = start();
    for (int s = 0; s < MOST_STEPS && !step(energy); ++s) {}
    gram();
    const V rho = squares(u, b), by = one / root(rho > V{} ? rho : one);
    times(u, b, by);
    times(w, c, by);
    for (I l = 0; P == 2 && l < c; ++l) w[2 * l + 1] = -w[2 * l + 1];
    const V kept = squares(w, c), rest = tail();
    bool open = false;
    double beta[W], gain[W];
    for (int j = 0; j < W; ++j) {
      beta[j] = rest[j];
      gain[j] = gain_of(kept[j], rest[j], rho[j], P * (b + c));
      open |= !(excess(gain[j], rho[j], beta[j]) <= EXACT * energy[j]);
    }
    if (open) by_trace(kept, rest, beta);
    for (int j = 0; j < W; ++j) {
      const double over = excess(gain[j], rho[j], beta[j]);
      facts[j] = {kept[j], rest[j], std::max(rest[j] - over, 0.0),
                  rest[j] * gain[j] / kept[j]};
      if (!(energy[j] > 1e-200 && energy[j] < 1e200)) special(j, energy[j], facts[j]);
      else if (!(over <= EXACT * energy[j])) facts[j].lower = -1;
    }
  }

  // Squared error above the smallest possible, at most: Kato-Temple, as in split_rows.h.
  static double excess(double gain, double rho, double beta) {
    return beta < rho ? gain * beta / (rho - beta)
                      : std::numeric_limits<double>::infinity();
  }

  // sigma_2^4 <= |T T^H|^2 - sigma_1^4
  void by_trace(V kept, V rest, double* beta) const {
    const V norm = gram_norm();
    const double rounding = UNIT * double(b * c + 8);
    for (int j = 0; j < W; ++j) {
      const double most = norm[j] + 2 * rounding * (kept[j] + rest[j]);
      beta[j] = std::min(beta[j], std::sqrt(std::max(most * most - kept[j] * kept[j], 0.0)));
    }
  }

  void special(int lane, double energy, Facts& f) const {
    double top = 0;
    for (I l = 0; l < P * b * c; ++l) top = std::max(top, std::abs(t[l][lane]));
    for (I l = 0; l < P * b; ++l) u[l][lane] = l == 0;
    for (I l = 0; l < P * c; ++l) w[l][lane] = 0;
    const double known = std::isfinite(energy) && top == 0 ? 0 : std::numeric_limits<double>::quiet_NaN();
    f = {known, known, std::isfinite(energy) && top > 0 ? -1 : known, known};
  }
};

}  // namespace
