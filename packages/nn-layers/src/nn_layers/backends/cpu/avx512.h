// Sixteen floats at once, kept as float or bfloat16, for the AVX-512 kernels.

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

namespace {

constexpr int64_t kLanes = 16;

// Which of the 16 lanes from `first` on are below `end`.
__mmask16 lanes_below(int64_t end, int64_t first) {
    const int64_t n = std::clamp<int64_t>(end - first, 0, kLanes);
    return static_cast<__mmask16>((1u << n) - 1);
}

// Reads and writes 16 numbers of a type; a word of 32 bits holds one float or two bfloat16.
template <typename T>
struct Words;

template <>
struct Words<float> {
    static constexpr int64_t kPerWord = 1;

    static __m512 load(const float* x) { return _mm512_loadu_ps(x); }
    static __m512 load(const float* x, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, x); }
    static void store(float* out, __m512 x) { _mm512_storeu_ps(out, x); }
    static void store(float* out, __mmask16 mask, __m512 x) { _mm512_mask_storeu_ps(out, mask, x); }

    static __m512 dot(__m512 sum, __m512i a, __m512i b) {
        return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
    }
};

#ifdef __AVX512BF16__
template <>
struct Words<uint16_t> {
    static constexpr int64_t kPerWord = 2;

    static __m512 load(const uint16_t* x) {
        return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
    }
    static __m512 load(const uint16_t* x, __mmask16 mask) {
        return widen(_mm256_maskz_loadu_epi16(mask, x));
    }
    static void store(uint16_t* out, __m512 x) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), narrow(x));
    }
    static void store(uint16_t* out, __mmask16 mask, __m512 x) {
        _mm256_mask_storeu_epi16(out, mask, narrow(x));
    }

    static __m512 widen(__m256i x) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
    }
    static __m256i narrow(__m512 x) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)); }

    static __m512 dot(__m512 sum, __m512i a, __m512i b) {
        return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
    }
};
#endif

// Whether numbers of that many bytes have `Words`.
bool is_known(int64_t bytes) {
#ifdef __AVX512BF16__
    if (bytes == 2) return true;
#endif
    return bytes == 4;
}

// Call `work` with a null pointer to the type of that many bytes.
template <typename Work>
void with_type(int64_t bytes, Work work) {
    if (bytes == 4) work(static_cast<float*>(nullptr));
#ifdef __AVX512BF16__
    else work(static_cast<uint16_t*>(nullptr));
#endif
}

// e^x for x <= 0: 2^(x log2 e) by a polynomial of degree 6 on [-0.5, 0.5], of relative error 3e-9
// (Chebyshev interpolation) before rounding. Far below zero it is 0, and NaN stays NaN.
__m512 exponential(__m512 x) {
    const __m512 power = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f));
    const __m512 whole = _mm512_roundscale_ps(power, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    // The rest comes from x itself, with ln 2 in two parts, because `power` has lost digits.
    const __m512 near = _mm512_fnmadd_ps(whole, _mm512_set1_ps(0.693145752f), x);
    const __m512 rest = _mm512_mul_ps(_mm512_fnmadd_ps(whole, _mm512_set1_ps(1.42860677e-6f), near),
                                      _mm512_set1_ps(1.44269504f));
    constexpr float kTerms[] = {1.54614447e-4f, 1.34004282e-3f, 9.61805668e-3f, 5.55032723e-2f,
                                2.40226509e-1f, 6.93147207e-1f, 1.0f};
    __m512 sum = _mm512_set1_ps(kTerms[0]);
#pragma GCC unroll 6
    for (int i = 1; i < 7; ++i) sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(kTerms[i]));
    return _mm512_scalef_ps(sum, whole);
}

}  // namespace
