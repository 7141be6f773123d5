// Vectors whose lanes are channels: exp2, softplus, sigmoid, and tiles moved between memory and vectors.
//
// A tile is `steps x width` numbers of the computing type S (float or double). Memory may hold float,
// double, bfloat16 or half; tensors are Views with explicit strides, and step t of a route touches
// position pos[t]. Nothing here knows about Python or torch.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>
#if defined(__AVX512F__)
#include <immintrin.h>
#define VBYTES 64
#else
#define VBYTES 32
#endif
#define INLINE static inline __attribute__((always_inline))

constexpr int CHUNK = 32;  // steps in a tile; mirrored in library.py
constexpr double LOG2E = 1.4426950408889634;

template <class S> struct VectorOf;
template <> struct VectorOf<float> {
  typedef float type __attribute__((vector_size(VBYTES), aligned(VBYTES)));
  typedef int32_t integer __attribute__((vector_size(VBYTES), aligned(VBYTES)));
};
template <> struct VectorOf<double> {
  typedef double type __attribute__((vector_size(VBYTES), aligned(VBYTES)));
};
template <class S> using V = typename VectorOf<S>::type;
template <class S> constexpr int LANES = VBYTES / int(sizeof(S));

// ---- functions of a vector -------------------------------------------------------------------
INLINE V<float> exp2v(V<float> x) {
  // 2^x = 2^n p(r), n = round(x), |r| <= 1/2; degree 5, p(0) = 1 exactly, relative error 9.2e-8
  constexpr float c1 = 0.6931470037f, c2 = 0.2402224243f, c3 = 0.0555073358f, c4 = 0.0096715130f,
                  c5 = 0.0013264727f;
#if defined(__AVX512F__)
  V<float> n = (V<float>)_mm512_roundscale_ps((__m512)x, 0);
  V<float> r = x - n;
  V<float> p = ((((c5 * r + c4) * r + c3) * r + c2) * r + c1) * r + 1.0f;
  return (V<float>)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  typedef VectorOf<float>::integer I;
  V<float> low = V<float>{} - 127.f, high = V<float>{} + 128.f;
  x = x < low ? low : x;
  x = x > high ? high : x;
  V<float> magic = V<float>{} + 12582912.f;  // 1.5 * 2^23: adding it rounds to an integer
  V<float> rounded = x + magic, r = x - (rounded - magic);
  V<float> p = ((((c5 * r + c4) * r + c3) * r + c2) * r + c1) * r + 1.0f;
  // two half scalings reach 2^128 (infinity) and, at the low end, exactly zero
  I n = (I)rounded - 0x4B400000, half = n >> 1;
  V<float> y = (V<float>)((I)p + (half << 23)) * (V<float>)((n - half + 127) << 23);
  return x <= low ? V<float>{} : y;
#endif
}
INLINE V<double> exp2v(V<double> x) {
  for (int i = 0; i < LANES<double>; i++) x[i] = std::exp2(x[i]);
  return x;
}
INLINE V<float> log1p_of_unit(V<float> e) {  // log1p(e) for 0 <= e <= 1, accurate near zero
  V<float> s = e / (e + 2.f), z = s * s;     // = 2 atanh(s), s <= 1/3
  V<float> p = z * (1.f / 15) + 1.f / 13;
  p = p * z + 1.f / 11;
  p = p * z + 1.f / 9;
  p = p * z + 1.f / 7;
  p = p * z + 1.f / 5;
  p = p * z + 1.f / 3;
  return 2.f * s * (p * z + 1.f);
}
INLINE V<double> log1p_of_unit(V<double> e) {
  for (int i = 0; i < LANES<double>; i++) e[i] = std::log1p(e[i]);
  return e;
}
template <class S> INLINE V<S> absolute(V<S> x) { return x < S(0) ? -x : x; }
template <class S> INLINE V<S> softplus(V<S> x) {
  return (x > S(0) ? x : x * S(0)) + log1p_of_unit(exp2v(absolute<S>(x) * S(-LOG2E)));
}
template <class S> INLINE V<S> sigmoid(V<S> x) {
  V<S> e = exp2v(absolute<S>(x) * S(-LOG2E));
  return (x > S(0) ? V<S>{} + S(1) : e) / (e + S(1));
}
template <class S> INLINE V<S> silu_slope(V<S> x, V<S> s) { return s * (x * (S(1) - s) + S(1)); }

template <class S> INLINE S sum_lanes(V<S> v) {  // pairwise tree: more exact and faster than serial
  constexpr int w = LANES<S>;
  S a[w];
  std::memcpy(a, &v, sizeof(v));
#pragma GCC unroll 8
  for (int m = w / 2; m > 0; m /= 2)
    for (int j = 0; j < m; j++) a[j] += a[j + m];
  return a[0];
}

// ---- element types ---------------------------------------------------------------------------
struct bfloat16 { uint16_t bits; };
INLINE float widen(float x) { return x; }
INLINE double widen(double x) { return x; }
INLINE float widen(bfloat16 x) {
  uint32_t word = uint32_t(x.bits) << 16;
  float f;
  std::memcpy(&f, &word, 4);
  return f;
}
INLINE void narrow(float f, float& out) { out = f; }
INLINE void narrow(double f, double& out) { out = f; }
INLINE void narrow(float f, bfloat16& out) {  // to nearest, ties to even; NaN stays NaN
  uint32_t word;
  std::memcpy(&word, &f, 4);
  uint32_t rounded = (word + 0x7fff + ((word >> 16) & 1)) >> 16;
  out.bits = uint16_t((word & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}
#if defined(__FLT16_MAX__)
typedef _Float16 half;
INLINE float widen(half x) { return float(x); }
INLINE void narrow(float f, half& out) { out = half(f); }
#define WITH_HALF 1
#else
#define WITH_HALF 0
#endif

extern "C" {
struct View {          // mirrored in library.py; data == nullptr: the tensor is absent
  char* data;
  int64_t stride[4];   // in elements: batch, route, position, channel or state
  int64_t kind;        // 0 float, 1 double, 2 bfloat16, 3 half
};
}

struct Rows {          // a View at one (batch, route, first channel)
  char* data;
  int64_t step, lane, kind;
};
INLINE int64_t item_size(int64_t kind) { return kind == 0 ? 4 : kind == 1 ? 8 : 2; }
INLINE Rows rows_of(const View& v, int64_t b, int64_t k, int64_t first) {
  int64_t offset = b * v.stride[0] + k * v.stride[1] + first * v.stride[3];
  return {v.data ? v.data + offset * item_size(v.kind) : nullptr, v.stride[2], v.stride[3], v.kind};
}

// ---- tiles -----------------------------------------------------------------------------------
struct Steps {         // steps t0 .. t0 + count of a route; table nullptr: the order of memory
  const int32_t* table;
  int64_t t0;
  int count;
  int64_t at(int t) const { return table ? table[t0 + t] : t0 + t; }
};

template <class S, int W, class T> static void gather_as(S* tile, Rows r, Steps s, int lanes) {
  const T* memory = (const T*)r.data;
  if (lanes < W) std::memset(tile, 0, sizeof(S) * W * s.count);
  if (r.lane == 1 && lanes == W) {
    for (int t = 0; t < s.count; t++) {
      const T* p = memory + s.at(t) * r.step;
      for (int j = 0; j < W; j++) tile[t * W + j] = S(widen(p[j]));
    }
  } else {  // lanes outermost: with channels-first memory every inner run is contiguous
    for (int j = 0; j < lanes; j++)
      for (int t = 0; t < s.count; t++)
        tile[t * W + j] = S(widen(memory[s.at(t) * r.step + j * r.lane]));
  }
}
template <class S, int W> static __attribute__((noinline)) void gather(S* tile, Rows r, Steps s,
                                                                       int lanes) {
  if (sizeof(S) == 8) return gather_as<S, W, double>(tile, r, s, lanes);
  if (r.kind == 0) return gather_as<S, W, float>(tile, r, s, lanes);
  if (r.kind == 2) return gather_as<S, W, bfloat16>(tile, r, s, lanes);
#if WITH_HALF
  gather_as<S, W, half>(tile, r, s, lanes);
#endif
}
template <class S, int W, class T> static void scatter_as(const S* tile, Rows r, Steps s, int lanes,
                                                          bool add) {
  T* memory = (T*)r.data;
  if (r.lane == 1 && lanes == W && !add) {
    for (int t = 0; t < s.count; t++) {
      T* p = memory + s.at(t) * r.step;
      for (int j = 0; j < W; j++) narrow(tile[t * W + j], p[j]);
    }
  } else if (r.lane == 1) {
    for (int t = 0; t < s.count; t++) {
      T* p = memory + s.at(t) * r.step;
      for (int j = 0; j < lanes; j++)
        narrow(tile[t * W + j] + (add ? S(widen(p[j])) : S(0)), p[j]);
    }
  } else {
    for (int j = 0; j < lanes; j++)
      for (int t = 0; t < s.count; t++) {
        T& p = memory[s.at(t) * r.step + j * r.lane];
        narrow(tile[t * W + j] + (add ? S(widen(p)) : S(0)), p);
      }
  }
}
template <class S> struct Scatter;
template <> struct Scatter<double> {
  template <int W> static void run(const double* tile, Rows r, Steps s, int lanes, bool add) {
    scatter_as<double, W, double>(tile, r, s, lanes, add);
  }
};
template <> struct Scatter<float> {
  template <int W> static __attribute__((noinline)) void run(const float* tile, Rows r, Steps s,
                                                             int lanes, bool add) {
    if (r.kind == 0) return scatter_as<float, W, float>(tile, r, s, lanes, add);
    if (r.kind == 2) return scatter_as<float, W, bfloat16>(tile, r, s, lanes, add);
#if WITH_HALF
    scatter_as<float, W, half>(tile, r, s, lanes, add);
#endif
  }
};
template <class S, int W> INLINE void scatter(const S* tile, Rows r, Steps s, int lanes, bool add) {
  Scatter<S>::template run<W>(tile, r, s, lanes, add);
}
template <class S> INLINE V<S> load_lanes(const S* p, int64_t step, int lanes) {
  V<S> v = V<S>{};
  if (p) for (int j = 0; j < lanes; j++) v[j] = p[j * step];
  return v;
}
template <class S> INLINE void store_lanes(S* p, int64_t step, V<S> v, int lanes) {
  if (p) for (int j = 0; j < lanes; j++) p[j * step] = v[j];
}

// ---- checks and threads ----------------------------------------------------------------------
static bool visits_every_position_once(const int32_t* table, int64_t routes, int64_t length) {
  std::vector<char> seen(size_t(length), 0);
  for (int64_t k = 0; k < routes; k++) {
    for (int64_t t = 0; t < length; t++) {
      int64_t p = table[k * length + t];
      if (p < 0 || p >= length || seen[size_t(p)] != char(k & 1)) return false;
      seen[size_t(p)] ^= 1;
    }
  }
  return true;
}

// Threads live for one call: nothing to inherit over a fork, no OpenMP runtime to clash with.
template <class F> static void parallel_for(int64_t items, int64_t threads, F work) {
  threads = std::min(threads, items);
  std::atomic<int64_t> next{0};
  auto run = [&] { for (int64_t i; (i = next++) < items;) work(i); };
  std::vector<std::thread> crew;
  try {
    for (int64_t i = 1; i < threads; i++) crew.emplace_back(run);
  } catch (const std::system_error&) {
    // the system gives no more threads: those that run take all items
  }
  run();
  for (auto& thread : crew) thread.join();
}
