// The backward over a range of channel blocks, chunk by chunk from the right:
//
//   g_t = C_t e_t + a_{t+1} g_{t+1}            w_t = a_t g_t h_{t-1}
//   dC_t = sum_d e_t h_t    dB_t = sum_d g_t s_t u_t    q_t = sum_n g_t B_t
//   du_t = D e_t + s_t q_t  ds_t = u_t q_t + sum_n w_t A    dA = sum_t s_t w_t
//
// A local window adds, within each window, k_{t+1} = a_t (C_t e_t + k_t) from the left (the gradient of
// the right-going part) and p_t = a_t r_{t+1} (its value): g becomes g + k where it meets B, s and u,
// h_t becomes h_t + p_t in dC, and w_t gains (C_t e_t + k_t) p_t.
//
// States and decays of a chunk are computed again, a few states at a time so that they stay in the
// nearest cache. Sums over channels are made by transposing registers, never lane by lane.
#pragma once
#include <memory>
#include "scan_tiles.h"

constexpr int BACK_SWEEP = 4;

template <class S, int N> struct BackColumn {  // what one channel block carries from chunk to chunk
  V<S> carry[N], A[N], dA[N], dW[RANK], dD, dbias;  // carry: a_{t+1} g_{t+1} at the chunk's end
  Fixed<S> fixed;
  void start(const ScanCall& g, const Walk<S>& w, const V<S>* from_right) {
    std::memset((void*)this, 0, sizeof(*this));
    load_fixed<S>(fixed, g, w);
    load_states<S, N>(A, g.A, w.rate(g), g.states, w);
    for (int n = 0; n < N; n++) carry[n] = from_right[n];
  }
  // into the private sums of this segment and batch element
  void finish(const ScanCall& g, const Walk<S>& w, int64_t segment) const {
    const int64_t row = ((segment * g.batch + w.b) * g.routes + w.k) * g.channels + w.first;
    store_states<S, N>(g.dA, row * g.states + w.group * GROUP, g.states, dA, w);
    if (segment == 0) store_states<S, N>(g.dh0, w.state(g), g.states, carry, w);
    if (g.dD && w.group == 0) store_lanes<S>((S*)g.dD + row, 1, dD, w.lanes);
    S* slot = (S*)g.dbias + row * groups_of(g) + w.group;
    if (g.dbias) store_lanes<S>(slot, groups_of(g), dbias, w.lanes);
    for (int r = 0; r < g.rank; r++)
      store_lanes<S>((S*)g.dW + (row * g.rank + r) * groups_of(g) + w.group, g.rank * groups_of(g),
                     dW[r], w.lanes);
  }
};

// e = d loss / d (sum of y): dout, through the gate where there is one; dz on the way.
template <class S, int N> static void read_gradient(Tiles<S, N>& x, const ScanCall& g,
                                                    const Walk<S>& w, Steps s, bool with_dz) {
  constexpr int L = LANES<S>;
  gather<S, L>((S*)x.e, rows_of(g.dout, w.b, w.k, w.first), s, w.lanes);
  if (!g.z.data) return;
  gather<S, L>((S*)x.z, rows_of(g.z, w.b, 0, w.first), s, w.lanes);
  with_dz = with_dz && w.k == 0 && w.group == 0;
  if (with_dz) gather<S, L>((S*)x.y, rows_of(g.y, w.b, 0, w.first), s, w.lanes);
  for (int t = 0; t < s.count; t++) {
    const V<S> z = x.z[t], m = sigmoid<S>(z);
    if (with_dz) x.y[t] *= x.e[t] * silu_slope<S>(z, m);
    x.e[t] *= z * m;
  }
  if (with_dz) scatter<S, L>((const S*)x.y, rows_of(g.dz, w.b, 0, w.first), s, w.lanes, false);
}
// a_1 g_1 of a segment that gets nothing from its right (in carry), and the sum of its s
template <class S, int N> static void adjoint_chunks(const ScanCall& g, const Walk<S>& w,
                                                     int64_t c0, int64_t c1, V<S>* carry,
                                                     V<S>& total) {
  Fixed<S> f;
  load_fixed<S>(f, g, w);
  V<S> A2[N], q[N];
  load_states<S, N>(A2, g.A, w.rate(g), g.states, w);
  for (int n = 0; n < N; n++) { A2[n] *= S(LOG2E); q[n] = carry[n]; }
  Tiles<S, N> x;
  for (int64_t c = c1 - 1; c >= c0; c--) {
    const Span s(g, w, c);
    read_steps<S, N, false>(x, g, w, f, s);
    read_states<S, N>(x.C, g.C, w, s);
    read_gradient<S, N>(x, g, w, s.visited(), false);
    for (int t = s.count - 1; t >= 0; t--) {
      total += x.s[t];
#pragma GCC unroll 16
      for (int n = 0; n < N; n++) q[n] = (q[n] + x.e[t] * x.C[t * N + n]) * exp2v(x.s[t] * A2[n]);
    }
  }
  for (int n = 0; n < N; n++) carry[n] = q[n];
}

// Sums over the channels of all blocks of dB and dC. HALF pairs (dB, dC) fold into one vector: dB in
// its lower lanes, dC in its upper ones.
template <class S, int N> struct ChannelSums {
  static constexpr int R = std::min(N, BACK_SWEEP), HALF = LANES<S> / 2;
  static constexpr int STEPS = R >= HALF ? 1 : HALF / R;  // steps that fill one vector
  V<S> sums[CHUNK * N / HALF];
  S low[CHUNK * RANK + LANES<S>];
  // dB and dC of R states at step t are pairs[0 .. R) of this step's place
  INLINE int place(int t) { return t % STEPS * R; }
};
template <class S, int N> struct Scratch {
  static constexpr int R = ChannelSums<S, N>::R;
  V<S> h[(CHUNK + 1) * R], a[CHUNK * R], k[CHUNK * R];  // h[0]: before the first step
  V<S> q[CHUNK], ds[CHUNK];
  ChannelSums<S, N> over;
  alignas(64) S rows[CHUNK * GROUP];
  Tiles<S, N> x;
};

template <class S, int N, bool LOCAL> INLINE void replay(Scratch<S, N>& m, const V<S>* A, int n0,
                                                         const S* start, int count, int window,
                                                         const Ahead& next) {
  constexpr int R = Scratch<S, N>::R;
  V<S> A2[R], h[R], k[R];
  std::memcpy(h, start + n0 * LANES<S>, sizeof(h));
  for (int n = 0; n < R; n++) { A2[n] = A[n0 + n] * S(LOG2E); m.h[n] = h[n]; k[n] = V<S>{}; }
  for (int t = 0; t < count; t++) {
    if (n0 == 0) touch(next, t);
    const V<S> s = m.x.s[t], su = m.x.su[t], e = m.x.e[t];
    const S *B = m.x.B + t * N + n0, *C = m.x.C + t * N + n0;
    if (LOCAL && t % window == 0)
      for (int n = 0; n < R; n++) k[n] = V<S>{};
#pragma GCC unroll 16
    for (int n = 0; n < R; n++) {
      const V<S> a = exp2v(s * A2[n]);
      h[n] = a * h[n] + su * B[n];
      m.a[t * R + n] = a;
      m.h[(t + 1) * R + n] = h[n];
      if (LOCAL) {
        m.k[t * R + n] = k[n];
        k[n] = a * (k[n] + e * C[n]);
      }
    }
  }
}
// R states from n0 on, from right to left; `first`: this block writes the sums that others add to.
template <class S, int N, bool LOCAL> INLINE void step_back(Scratch<S, N>& m, BackColumn<S, N>& q,
                                                            int n0, int count, int window,
                                                            bool first) {
  typedef ChannelSums<S, N> Sums;
  constexpr int R = Sums::R, HALF = Sums::HALF;
  V<S> carry[R], dA[R], A[R], later[R], pairs[R > HALF ? R : HALF];
  for (int n = 0; n < R; n++) {
    carry[n] = q.carry[n0 + n];
    A[n] = q.A[n0 + n];
    dA[n] = later[n] = V<S>{};
  }
  for (V<S>& each : pairs) each = V<S>{};
  V<S>* sums = m.over.sums + n0 * CHUNK / HALF;
  for (int t = count - 1; t >= 0; t--) {
    const V<S> s = m.x.s[t], su = m.x.su[t], e = m.x.e[t];
    const S *B = m.x.B + t * N + n0, *C = m.x.C + t * N + n0;
    const V<S>*before = m.h + t * R, *h = before + R, *a = m.a + t * R;
    V<S> gB = V<S>{}, wA = V<S>{};
    if (LOCAL && t % window == window - 1)
      for (int n = 0; n < R; n++) later[n] = V<S>{};
#pragma GCC unroll 16
    for (int n = 0; n < R; n++) {
      V<S> g = carry[n] + e * C[n], seen = h[n];
      carry[n] = g * a[n];
      V<S> w = carry[n] * before[n];
      if (LOCAL) {
        const V<S> k = m.k[t * R + n], p = a[n] * later[n];
        later[n] = p + su * B[n];
        w += (e * C[n] + k) * p;
        seen += p;
        g += k;
      }
      pairs[m.over.place(t) + n] = fold<S, HALF>(g * su, e * seen);
      gB += g * B[n];
      dA[n] += w * s;
      wA += w * A[n];
    }
    m.q[t] = n0 ? m.q[t] + gB : gB;
    m.ds[t] = n0 ? m.ds[t] + wA : wA;
    if (t % Sums::STEPS == 0)
#pragma GCC unroll 8
      for (int i = 0; i < R; i += HALF) {
        V<S>& sum = sums[(t * R + i) / HALF];
        const V<S> v = fold_all<S, HALF / 2>(pairs + i);
        sum = first ? v : sum + v;
      }
  }
  for (int n = 0; n < R; n++) { q.carry[n0 + n] = carry[n]; q.dA[n0 + n] += dA[n]; }
}
// The low-rank step: its gradient is a sum over channels too.
template <class S, int N> static void low_rank_back(Scratch<S, N>& m, BackColumn<S, N>& q, int rank,
                                                    int count, bool first) {
  constexpr int L = LANES<S>;
  int t = 0, r = 0;
  for (int at = 0; at < count * rank; at += L) {
    V<S> v[L];
    for (int i = 0; i < L; i++) {
      v[i] = t < count ? m.ds[t] * q.fixed.W[r] : V<S>{};
      if (++r == rank) { r = 0; t++; }
    }
    V<S> sum = fold_all<S, L / 2>(v), old = V<S>{};
    if (!first) std::memcpy(&old, m.over.low + at, sizeof(old));
    sum += old;
    std::memcpy(m.over.low + at, &sum, sizeof(sum));
  }
  for (r = 0; r < rank; r++) {
    V<S> sum = V<S>{};
    for (t = 0; t < count; t++) sum += m.ds[t] * m.x.low[t * RANK + r];
    q.dW[r] += sum;
  }
}
template <class S, int N> static void finish_steps(Scratch<S, N>& m, BackColumn<S, N>& q,
                                                   const ScanCall& g, const Walk<S>& w,
                                                   const Span& s, bool first) {
  constexpr int L = LANES<S>;
  V<S> dD = V<S>{}, dbias = V<S>{};
  for (int t = 0; t < s.count; t++) {
    const V<S> e = m.x.e[t], u = m.x.u[t];
    m.ds[t] = (m.ds[t] + u * m.q[t]) * m.x.slope[t];
    m.q[t] = q.fixed.D * e + m.x.s[t] * m.q[t];
    dD += e * u;
    dbias += m.ds[t];
  }
  q.dD += dD;
  q.dbias += dbias;
  clear_rest<S>(m.q, s);
  clear_rest<S>(m.ds, s);
  const bool add = (w.k > 0 && g.du.stride[1] == 0) || w.group > 0;
  scatter<S, L>((const S*)m.q, rows_of(g.du, w.b, w.k, w.first), s.all, w.lanes, add);
  if (g.rank) return low_rank_back<S, N>(m, q, int(g.rank), s.count, first);
  scatter<S, L>((const S*)m.ds, rows_of(g.ddt, w.b, w.k, w.first), s.all, w.lanes, w.group > 0);
}

// Where the parts of the channels leave their sums: each in its own copy, added up at the end, or,
// where there is one part, in the results.
template <class S> struct PartSums {
  std::unique_ptr<S[]> data;
  int64_t batch, routes, length, states, rank, width, part;  // numbers of a step, of a part
  explicit PartSums(const ScanCall& g)
      : batch(g.batch), routes(g.routes), length(g.length), states(g.states), rank(g.rank),
        width(2 * g.states + g.rank), part(g.batch * g.routes * g.length * width) {
    // several groups of states add to a low-rank gradient: not in a half type
    if (g.parts > 1 || (g.rank && groups_of(g) > 1)) data.reset(new S[size_t(part * g.parts)]);
  }
  View view(const View& result, int64_t column, int64_t i) const {
    if (!data) return result;
    S* first = data.get() + i * part + column;
    return {(char*)first, {routes * length * width, length * width, width, 1}, sizeof(S) == 8};
  }
  View dB(const ScanCall& g, int64_t i) const { return view(g.dB, 0, i); }
  View dC(const ScanCall& g, int64_t i) const { return view(g.dC, states, i); }
  View low(const ScanCall& g, int64_t i) const { return view(g.ddt, 2 * states, i); }
  // adds the parts of some steps of one result up
  void add_up(const ScanCall& g, const View& to, int64_t column, int64_t columns, int64_t b, int64_t k,
              Steps s) const {
    alignas(64) S sums[CHUNK * GROUP];
    for (int64_t j = 0; j < columns; j += GROUP) {
      const int w = int(std::min<int64_t>(GROUP, columns - j));
      for (int t = 0; t < s.count; t++)
        for (int n = 0; n < w; n++) {
          const S* at = data.get() + ((b * routes + k) * length + s.t0 + t) * width + column + j + n;
          S sum = 0;
          for (int64_t i = 0; i < g.parts; i++) sum += at[i * part];
          sums[t * GROUP + n] = sum;
        }
      scatter<S, GROUP>(sums, rows_of(to, b, k, j), s, w, false);
    }
  }
  void finish(const ScanCall& g, int64_t b, int64_t k, int64_t t0) const {
    const Steps s{nullptr, t0, int(std::min<int64_t>(CHUNK, length - t0))};
    add_up(g, g.dB, 0, states, b, k, s);
    add_up(g, g.dC, states, states, b, k, s);
    if (rank) add_up(g, g.ddt, 2 * states, rank, b, k, s);
  }
};
// which: 0 writes dB, 1 writes dC
template <class S, int N> static void write_sums(Scratch<S, N>& m, const Walk<S>& w, const View& to,
                                                 const Span& s, int which) {
  typedef ChannelSums<S, N> Sums;
  constexpr int R = Sums::R, HALF = Sums::HALF;
  std::memset(m.rows, 0, sizeof(S) * size_t(N * s.all.count));
  for (int t = 0; t < s.count; t++)
    for (int n = 0; n < w.states; n++) {
      const int flat = n / R * R * CHUNK + t * R + n % R;
      m.rows[t * N + n] = ((const S*)m.over.sums)[flat / HALF * LANES<S> + which * HALF + flat % HALF];
    }
  scatter<S, N>(m.rows, rows_of(to, w.b, w.k, w.group * GROUP), s.all, w.states, false);
}
template <class S, int N> static void write_low(Scratch<S, N>& m, const Walk<S>& w, const View& to,
                                                const Span& s, int rank) {
  std::memset(m.rows, 0, sizeof(S) * size_t(RANK * s.all.count));
  for (int t = 0; t < s.count; t++)
    for (int r = 0; r < rank; r++) m.rows[t * RANK + r] = m.over.low[t * rank + r];
  scatter<S, RANK>(m.rows, rows_of(to, w.b, w.k, 0), s.all, rank, w.group > 0);
}
// Chunks c0 .. c1 of `blocks` channel blocks from w on.
template <class S, int N, bool LOCAL> static void back_chunks(const ScanCall& g, const Walk<S>& w,
                                                              int64_t blocks, int64_t part,
                                                              int64_t c0, int64_t c1,
                                                              BackColumn<S, N>* columns,
                                                              const PartSums<S>& parts) {
  const std::unique_ptr<Scratch<S, N>> scratch(new Scratch<S, N>);
  Scratch<S, N>& m = *scratch;
  for (int64_t c = c1 - 1; c >= c0; c--) {
    const Span s(g, w, c);
    read_states<S, N>(m.x.B, g.B, w, s);
    read_states<S, N>(m.x.C, g.C, w, s);
    for (int64_t i = 0; i < blocks; i++) {
      const Walk<S> at(g, w.b, w.k, w.group, w.block + i);
      read_steps<S, N, true>(m.x, g, at, columns[i].fixed, s);
      read_gradient<S, N>(m.x, g, at, s.all, true);
      const S* start = start_of_chunk<S, N>(g, at, c);
      const Ahead next = c > c0 ? ahead_of<S>(g, at, c - 1, g.dout) : Ahead{};
      for (int n0 = 0; n0 < N; n0 += Scratch<S, N>::R) {
        replay<S, N, LOCAL>(m, columns[i].A, n0, start, s.count, int(g.window), next);
        step_back<S, N, LOCAL>(m, columns[i], n0, s.count, int(g.window), i == 0);
      }
      finish_steps<S, N>(m, columns[i], g, at, s, i == 0);
    }
    write_sums<S, N>(m, w, parts.dB(g, part), s, 0);
    write_sums<S, N>(m, w, parts.dC(g, part), s, 1);
    if (g.rank) write_low<S, N>(m, w, parts.low(g, part), s, int(g.rank));
  }
}
