// Vectors of numbers, as wide as the processor this file is compiled for has them.
//
// Only what GCC and Clang offer for every processor, and a few functions for half floats, sums and products of small integers. Compiled once for AVX2 and
// once for AVX-512 with VNNI; see setup.py.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sightline {

#if defined(__AVX512VNNI__)
constexpr int W = 16;  // floats in a vector
constexpr int V = 4;   // vectors of outputs that a product computes at a time
#else
constexpr int W = 8;
constexpr int V = 2;
#endif
constexpr int R = 6;      // rows that a product computes at a time: R * V sums stay in registers
constexpr int P = V * W;  // outputs of a panel, see matrix.h

typedef float vf __attribute__((vector_size(W * 4)));
typedef int32_t vi __attribute__((vector_size(W * 4)));

inline int round_up(int n, int to) { return (n + to - 1) / to * to; }

inline vf load(const float* p) {
    vf x;
    std::memcpy(&x, p, sizeof x);
    return x;
}
inline void store(float* p, vf x) { std::memcpy(p, &x, sizeof x); }
// Half floats, for what is kept long and read once a step.
struct half {
    uint16_t bits;
};
#if defined(__AVX512VNNI__)
inline vf load(const half* p) { return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
inline void store(half* p, vf x) { _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT)); }
#else
inline vf load(const half* p) { return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
inline void store(half* p, vf x) { _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT)); }
#endif
inline float number(float x) { return x; }
inline float number(half x) { return _cvtsh_ss(x.bits); }
inline void put(float* p, float x) { *p = x; }
inline void put(half* p, float x) { p->bits = _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT); }

inline vf all(float x) { return x - vf{}; }
inline vf max(vf a, vf b) { return a > b ? a : b; }
inline vf min(vf a, vf b) { return a < b ? a : b; }

#if defined(__AVX512VNNI__)
inline float sum(vf x) { return _mm512_reduce_add_ps((__m512)x); }
// The sums of four vectors.
inline __m128 sums(vf a, vf b, vf c, vf d) {
    auto halved = [](vf x) { return _mm256_add_ps(_mm512_castps512_ps256((__m512)x), _mm512_extractf32x8_ps((__m512)x, 1)); };
    __m256 each = _mm256_hadd_ps(_mm256_hadd_ps(halved(a), halved(b)), _mm256_hadd_ps(halved(c), halved(d)));
    return _mm_add_ps(_mm256_castps256_ps128(each), _mm256_extractf128_ps(each, 1));
}
#else
inline __m128 sums(vf a, vf b, vf c, vf d) {
    __m256 each = _mm256_hadd_ps(_mm256_hadd_ps((__m256)a, (__m256)b), _mm256_hadd_ps((__m256)c, (__m256)d));
    return _mm_add_ps(_mm256_castps256_ps128(each), _mm256_extractf128_ps(each, 1));
}
inline float sum(vf x) { return sums(x, vf{}, vf{}, vf{})[0]; }
#endif
inline float largest(vf x) {
    float found = x[0];
    for (int i = 1; i < W; i++) found = x[i] > found ? x[i] : found;
    return found;
}

// e^x, correct to 2 units of the last place; below -87 it is about 1e-38.
inline vf exp(vf x) {
    x = min(max(x, all(-87.0f)), all(88.0f));
    const float magic = 12582912.0f;  // added and taken away again, it rounds to whole numbers
    vf n = (x * 1.44269504f + magic) - magic;
    vf r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vf y = 1.9875691500e-4f * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    vi exponent = (__builtin_convertvector(n, vi) + 127) << 23;
    return y * (vf)exponent;
}

// e^x of numbers up to 0, correct to one part in 170,000: for sums over many.
inline vf roughly_exp(vf x) {
    const float magic = 12582912.0f;
    x = max(x * 1.44269504f, all(-126.0f));
    vf whole = x + magic, r = x - (whole - magic);
    vf y = (((0.00959024f * r + 0.05587031f) * r + 0.24023678f) * r + 0.69312804f) * r + 1.0f;
    return (vf)((vi)y + ((vi)whole << 23));  // of `whole` the lowest bits are the exponent
}

// The error function (Abramowitz and Stegun 1964, 7.1.26: absolute error below 1.5e-7).
inline vf erf(vf x) {
    vf a = x < 0.0f ? -x : x;
    vf t = 1.0f / (1.0f + 0.3275911f * a);
    vf y = ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
    y = 1.0f - y * exp(-a * a);
    return x < 0.0f ? -y : y;
}

// Small whole numbers. A `quantum` is an activation, `DEPTH` of them are multiplied in one lane at a time; weights are bytes.
#if defined(__AVX512VNNI__)
typedef int8_t quantum;
constexpr int DEPTH = 4;
constexpr int LIMIT = 127;              // the largest activation,
constexpr int INPUTS_AT_LIMIT = 60000;  // with so many inputs; more of them lower it, so that sums fit into 32 bits
constexpr int WEIGHT_ZERO = 128;        // weights are stored with this added, as the instruction wants one side without sign
inline vi load_weights(const uint8_t* p) { return (vi)_mm512_loadu_si512(p); }
inline vi add_products(vi total, vi weights, const quantum* x) {
    int32_t four;
    std::memcpy(&four, x, sizeof four);
    return (vi)_mm512_dpbusd_epi32((__m512i)total, (__m512i)weights, _mm512_set1_epi32(four));
}
inline void store_rounded(quantum* p, vf x) { _mm_storeu_si128((__m128i*)p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32((__m512)x))); }
#else
typedef int16_t quantum;
constexpr int DEPTH = 2;
constexpr int LIMIT = 8191;
constexpr int INPUTS_AT_LIMIT = 2064;  // 127 * 8191 * 2064 is below 2^31
constexpr int WEIGHT_ZERO = 0;
inline vi load_weights(const uint8_t* p) { return (vi)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)p)); }
inline vi add_products(vi total, vi weights, const quantum* x) {
    int32_t two;
    std::memcpy(&two, x, sizeof two);
    return total + (vi)_mm256_madd_epi16((__m256i)weights, _mm256_set1_epi32(two));
}
inline void store_rounded(quantum* p, vf x) {
    __m256i whole = _mm256_cvtps_epi32((__m256)x);
    _mm_storeu_si128((__m128i*)p, _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1)));
}
#endif
}  // namespace sightline
