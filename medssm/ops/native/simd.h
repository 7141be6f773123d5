// Vectors whose lanes are channels: exp2, softplus, sigmoid, and tiles moved between memory and vectors.
//
// One text for every instruction set: vectors are the compiler's own (GCC and Clang), so flags alone
// make the variants: -mavx512{f,bw,dq,vl} gives vectors of 64 bytes, -mavx2 -mfma -mf16c of 32, no
// flag (SSE2, NEON) of 16. Only exp2 and the reading of half floats have a second spelling.
//
// A tile is `steps x width` numbers of the computing type S (float or double). Memory may hold float,
// double, bfloat16 or half; tensors are Views with explicit strides, and step t of a route touches
// position pos[t]. Nothing here knows about Python or torch.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__AVX512F__)
#include <immintrin.h>
#define VBYTES 64
#elif defined(__AVX2__)
#define VBYTES 32
#else
#define VBYTES 16
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
  typedef int64_t integer __attribute__((vector_size(VBYTES), aligned(VBYTES)));
};
template <class S> using V = typename VectorOf<S>::type;
template <class S> constexpr int LANES = VBYTES / int(sizeof(S));

// ---- functions of a vector -------------------------------------------------------------------
INLINE V<float> exp2v(V<float> x) {
  // 2^x = 2^n p(r), n = round(x), |r| <= 1/2; degree 5, p(0) = 1 exactly, relative error 9.2e-8
  constexpr float c1 = 0.6931470037f, c2 = 0.2402224243f, c3 = 0.0555073358f, c4 = 0.0096715130f,
                  c5 = 0.0013264727f;
#if defined(__AVX512F__)
  const V<float> n = (V<float>)_mm512_roundscale_ps((__m512)x, 0), r = x - n;
#else
  // 1.5 * 2^23: adding it rounds to an integer. At x = -127 the addition of exponents below gives
  // exactly 0, at x = 128 exactly infinity.
  const V<float> low = V<float>{} - 127.f, high = V<float>{} + 128.f;
  x = x < low ? low : x;
  x = x > high ? high : x;
  const V<float> n = x + 12582912.f, r = x - (n - 12582912.f);
#endif
  const V<float> p = ((((c5 * r + c4) * r + c3) * r + c2) * r + c1) * r + 1.f;
#if defined(__AVX512F__)
  return (V<float>)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  typedef VectorOf<float>::integer Bits;
  return (V<float>)((Bits)p + ((Bits)n << 23));
#endif
}
INLINE V<double> exp2v(V<double> x) {
  for (int i = 0; i < LANES<double>; i++) x[i] = std::exp2(x[i]);
  return x;
}
INLINE V<float> log1p_of_unit(V<float> e) {
  // log1p(e) = e q(e) for 0 <= e <= 1, q(0) = 1 exactly: relative error 3.3e-8, no division
  V<float> q = e * 0.005364824552088976f - 0.030065791681408882f;
  q = q * e + 0.07920453697443008f;
  q = q * e - 0.13753803074359894f;
  q = q * e + 0.191536545753479f;
  q = q * e - 0.24857163429260254f;
  q = q * e + 0.3332132399082184f;
  q = q * e - 0.49999648332595825f;
  return e * (q * e + 1.f);
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
// softplus, and its derivative, which is the sigmoid
template <class S> INLINE V<S> softplus(V<S> x, V<S>& slope) {
  const V<S> e = exp2v(absolute<S>(x) * S(-LOG2E));
  slope = (x > S(0) ? V<S>{} + S(1) : e) / (e + S(1));
  return (x > S(0) ? x : x * S(0)) + log1p_of_unit(e);
}
template <class S> INLINE V<S> silu_slope(V<S> x, V<S> s) { return s * (x * (S(1) - s) + S(1)); }

// ---- sums over lanes by transposition: W vectors become one of their W sums ----------------------
#if defined(__clang__)
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, typename VectorOf<S>::integer{__VA_ARGS__})
#endif
template <class S, int H, int... I>
INLINE V<S> fold_lanes(V<S> a, V<S> b, std::integer_sequence<int, I...>) {
  constexpr int W = LANES<S>;
  return PICK(a, b, (I & H ? W + I : I)...) + PICK(a, b, (I & H ? W + I - H : I + H)...);
}
// lane i: a[i] + a[i + H] where bit H of i is clear, else b[i - H] + b[i]
template <class S, int H> INLINE V<S> fold(V<S> a, V<S> b) {
  return fold_lanes<S, H>(a, b, std::make_integer_sequence<int, LANES<S>>());
}
// v[0 .. 2H) to v[0]; from H = LANES / 2 on, lane i becomes the sum of the lanes of v[i]
template <class S, int H> INLINE V<S> fold_all(V<S>* v) {
  if constexpr (H > 0) {
#pragma GCC unroll 8
    for (int j = 0; j < H; j++) v[j] = fold<S, H>(v[j], v[j + H]);
    fold_all<S, H / 2>(v);
  }
  return v[0];
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

// ---- a row of W elements in memory, W numbers in a tile ------------------------------------------
template <class S> struct Row {  // LANES<S> numbers at any address
  typedef S type __attribute__((vector_size(VBYTES), aligned(alignof(S)), may_alias));
};
typedef uint16_t Halves __attribute__((vector_size(VBYTES / 2), aligned(2), may_alias));
typedef uint32_t Words __attribute__((vector_size(VBYTES)));
INLINE V<float> load_row(const float* p) { return (V<float>)*(const Row<float>::type*)p; }
INLINE V<double> load_row(const double* p) { return (V<double>)*(const Row<double>::type*)p; }
INLINE V<float> load_row(const bfloat16* p) {
  return (V<float>)(__builtin_convertvector(*(const Halves*)p, Words) << 16);
}
INLINE void store_row(float* p, V<float> v) { *(Row<float>::type*)p = v; }
INLINE void store_row(double* p, V<double> v) { *(Row<double>::type*)p = v; }
INLINE void store_row(bfloat16* p, V<float> v) {  // as narrow() above
  const Words word = (Words)v, rounded = (word + 0x7fff + ((word >> 16) & 1)) >> 16;
  const Words is_nan = (Words)((word & 0x7fffffff) > 0x7f800000);
  *(Halves*)p = __builtin_convertvector((rounded & ~is_nan) | (is_nan & 0x7fc0), Halves);
}
#if WITH_HALF
#if defined(__AVX512F__)
INLINE V<float> load_row(const half* p) {
  return (V<float>)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
}
INLINE void store_row(half* p, V<float> v) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
}
#else
INLINE V<float> load_row(const half* p) {
  V<float> v;
  for (int j = 0; j < LANES<float>; j++) v[j] = widen(p[j]);
  return v;
}
INLINE void store_row(half* p, V<float> v) {
  for (int j = 0; j < LANES<float>; j++) narrow(v[j], p[j]);
}
#endif
#endif
template <int W, class S, class T> INLINE void read_row(S* to, const T* from) {
  constexpr int L = LANES<S>;
  if constexpr (W % L == 0)
    for (int j = 0; j < W; j += L) store_row(to + j, load_row(from + j));
  else
    for (int j = 0; j < W; j++) to[j] = S(widen(from[j]));
}
template <int W, class S, class T> INLINE void write_row(T* to, const S* from, bool add) {
  constexpr int L = LANES<S>;
  if constexpr (W % L == 0)
    for (int j = 0; j < W; j += L)
      store_row(to + j, add ? load_row(from + j) + load_row(to + j) : load_row(from + j));
  else
    for (int j = 0; j < W; j++) narrow(add ? from[j] + S(widen(to[j])) : from[j], to[j]);
}

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
    for (int t = 0; t < s.count; t++) read_row<W>(tile + t * W, memory + s.at(t) * r.step);
  } else if (r.lane == 0) {  // one number for all lanes, as an expanded gradient has
    for (int t = 0; t < s.count; t++)
      std::fill(tile + t * W, tile + t * W + lanes, S(widen(memory[s.at(t) * r.step])));
  } else {  // lanes outermost: with channels-first memory every inner run is contiguous
    for (int j = 0; j < lanes; j++)
      for (int t = 0; t < s.count; t++)
        tile[t * W + j] = S(widen(memory[s.at(t) * r.step + j * r.lane]));
  }
}
template <class S, int W> static __attribute__((noinline)) void gather(S* tile, Rows r, Steps s,
                                                                       int lanes) {
  if constexpr (sizeof(S) == 8) {
    gather_as<S, W, double>(tile, r, s, lanes);
  } else {
    if (r.kind == 0) return gather_as<S, W, float>(tile, r, s, lanes);
    if (r.kind == 2) return gather_as<S, W, bfloat16>(tile, r, s, lanes);
#if WITH_HALF
    gather_as<S, W, half>(tile, r, s, lanes);
#endif
  }
}
template <class S, int W, class T> static void scatter_as(const S* tile, Rows r, Steps s, int lanes,
                                                          bool add) {
  T* memory = (T*)r.data;
  if (r.lane == 1 && lanes == W) {
    for (int t = 0; t < s.count; t++) write_row<W>(memory + s.at(t) * r.step, tile + t * W, add);
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
template <class S, int W> static __attribute__((noinline)) void scatter(const S* tile, Rows r, Steps s,
                                                                        int lanes, bool add) {
  if constexpr (sizeof(S) == 8) {
    scatter_as<S, W, double>(tile, r, s, lanes, add);
  } else {
    if (r.kind == 0) return scatter_as<S, W, float>(tile, r, s, lanes, add);
    if (r.kind == 2) return scatter_as<S, W, bfloat16>(tile, r, s, lanes, add);
#if WITH_HALF
    scatter_as<S, W, half>(tile, r, s, lanes, add);
#endif
  }
}
// Rows of a later tile, asked for step by step while an earlier one is computed.
struct Ahead {
  Steps s{nullptr, 0, 0};
  int count = 0;
  const char* data[4];
  int64_t bytes[4];
  void add(const Rows& r) {  // where lanes lie side by side one row is one line of cache or two
    if (!r.data || r.lane != 1) return;
    data[count] = r.data;
    bytes[count++] = r.step * item_size(r.kind);
  }
};
INLINE void touch(const Ahead& a, int t) {
  if (t >= a.s.count) return;
  const int64_t p = a.s.at(t);
  for (int i = 0; i < a.count; i++) __builtin_prefetch(a.data[i] + p * a.bytes[i], 0, 2);
}
template <class S> INLINE V<S> load_lanes(const S* p, int64_t step, int lanes) {
  V<S> v = V<S>{};
  if (p) for (int j = 0; j < lanes; j++) v[j] = p[j * step];
  return v;
}
template <class S> INLINE void store_lanes(S* p, int64_t step, V<S> v, int lanes) {
  if (p) for (int j = 0; j < lanes; j++) p[j * step] = v[j];
}

// ---- a check ---------------------------------------------------------------------------------
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

// ---- pages -------------------------------------------------------------------------------------
// Fresh memory comes page by page at its first touch; large pages make that rare.
static void want_large_pages(void* data, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t page = uintptr_t(1) << 21;
  const uintptr_t first = ((uintptr_t)data + page - 1) & ~(page - 1);
  const uintptr_t end = ((uintptr_t)data + uintptr_t(bytes)) & ~(page - 1);
  if (data && bytes >= int64_t(2 * page) && end > first) madvise((void*)first, end - first, MADV_HUGEPAGE);
#else
  (void)data, (void)bytes;
#endif
}
