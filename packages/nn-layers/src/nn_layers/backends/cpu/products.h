// Small products by vectors or by AMX's tiles, and the packing of rows into factors.
//
// A factor on the right is packed: blocks of 16 columns, in which a word of 32 bits holds one
// float, or two bfloat16 that are neighbours along the sum. Sums are float.

#pragma once

#include <type_traits>

#include "avx512.h"

#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// C (m, n) = A B, or C += A B. A is row by row, `words` of the sum from a stride of `a_row` words;
// B is packed, its blocks `b_block` words apart. m is a multiple of 8, n of 32, `words` of 16.
template <typename T>
void multiply(int64_t m, int64_t n, int64_t words, const T* a_rows, int64_t a_row, const T* packed,
              int64_t b_block, float* c, int64_t c_row, bool adds) {
    const auto* a = reinterpret_cast<const int32_t*>(a_rows);
    const auto* b = reinterpret_cast<const int32_t*>(packed);
    constexpr int kTall = 8;
    for (int64_t j = 0; j < n; j += 2 * kLanes) {
        const int32_t* left = b + j / kLanes * b_block;
        const int32_t* right = left + b_block;
        for (int64_t i = 0; i < m; i += kTall) {
            __m512 sums[kTall][2];
#pragma GCC unroll 8
            for (int r = 0; r < kTall; ++r) {
                const float* from = c + (i + r) * c_row + j;
                sums[r][0] = adds ? _mm512_loadu_ps(from) : _mm512_setzero_ps();
                sums[r][1] = adds ? _mm512_loadu_ps(from + kLanes) : _mm512_setzero_ps();
            }
            for (int64_t w = 0; w < words; ++w) {
                const __m512i first = _mm512_loadu_si512(left + w * kLanes);
                const __m512i second = _mm512_loadu_si512(right + w * kLanes);
#pragma GCC unroll 8
                for (int r = 0; r < kTall; ++r) {
                    const __m512i factor = _mm512_set1_epi32(a[(i + r) * a_row + w]);
                    sums[r][0] = Words<T>::dot(sums[r][0], factor, first);
                    sums[r][1] = Words<T>::dot(sums[r][1], factor, second);
                }
            }
#pragma GCC unroll 8
            for (int r = 0; r < kTall; ++r) {
                _mm512_storeu_ps(c + (i + r) * c_row + j, sums[r][0]);
                _mm512_storeu_ps(c + (i + r) * c_row + j + kLanes, sums[r][1]);
            }
        }
    }
}

#ifdef __AMX_BF16__
// The same by tiles of 16 x 16 sums; m is a multiple of 32.
template <>
void multiply(int64_t m, int64_t n, int64_t words, const uint16_t* a_rows, int64_t a_row,
              const uint16_t* packed, int64_t b_block, float* c, int64_t c_row, bool adds) {
    const auto* a = reinterpret_cast<const int32_t*>(a_rows);
    const auto* b = reinterpret_cast<const int32_t*>(packed);
    const int64_t c_stride = c_row * 4, a_stride = a_row * 4, b_stride = kLanes * 4;
    for (int64_t j = 0; j < n; j += 2 * kLanes) {
        const int32_t* left = b + j / kLanes * b_block;
        const int32_t* right = left + b_block;
        for (int64_t i = 0; i < m; i += 2 * kLanes) {
            float *high = c + i * c_row + j, *low = high + kLanes * c_row;
            if (adds) {
                _tile_loadd(0, high, c_stride);
                _tile_loadd(1, high + kLanes, c_stride);
                _tile_loadd(2, low, c_stride);
                _tile_loadd(3, low + kLanes, c_stride);
            } else {
                _tile_zero(0);
                _tile_zero(1);
                _tile_zero(2);
                _tile_zero(3);
            }
            for (int64_t w = 0; w < words; w += kLanes) {
                _tile_loadd(4, a + i * a_row + w, a_stride);
                _tile_loadd(5, a + (i + kLanes) * a_row + w, a_stride);
                _tile_loadd(6, left + w * kLanes, b_stride);
                _tile_loadd(7, right + w * kLanes, b_stride);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
            _tile_stored(0, high, c_stride);
            _tile_stored(1, high + kLanes, c_stride);
            _tile_stored(2, low, c_stride);
            _tile_stored(3, low + kLanes, c_stride);
        }
    }
}

// Configures whole tiles while it lives, if wanted, and restores the thread's own afterwards.
class Tiles {
   public:
    explicit Tiles(bool wanted) : wanted_(wanted) {
        if (!wanted_) return;
        _tile_storeconfig(before_);
        alignas(64) uint8_t config[64] = {1};  // palette 1: 8 tiles
        for (int tile = 0; tile < 8; ++tile) {
            config[16 + 2 * tile] = 64;  // bytes per row
            config[48 + tile] = 16;      // rows
        }
        _tile_loadconfig(config);
    }
    ~Tiles() {
        if (!wanted_) return;
        if (before_[0]) _tile_loadconfig(before_);
        else _tile_release();
    }

   private:
    const bool wanted_;
    alignas(64) uint8_t before_[64];
};

// Linux grants the tiles on request.
bool may_use_tiles() {
    constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}
#else
struct Tiles {
    explicit Tiles(bool) {}
};
bool may_use_tiles() { return true; }
#endif

// ---- From rows to factors. ----

// The transposed of 16 x 16 words.
void transpose(const uint32_t* in, int64_t in_row, uint32_t* out, int64_t out_row) {
    __m512i a[16], b[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(in + i * in_row);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
        b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    // Lane l of 128 bits of a[4 i + c] now holds column 4 l + c of the rows 4 i .. 4 i + 3.
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
        const __m512i even = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88);
        const __m512i odd = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xdd);
        const __m512i later_even = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88);
        const __m512i later_odd = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xdd);
        const auto to = [&](int row) { return out + row * out_row; };
        _mm512_storeu_si512(to(c), _mm512_shuffle_i32x4(even, later_even, 0x88));
        _mm512_storeu_si512(to(4 + c), _mm512_shuffle_i32x4(odd, later_odd, 0x88));
        _mm512_storeu_si512(to(8 + c), _mm512_shuffle_i32x4(even, later_even, 0xdd));
        _mm512_storeu_si512(to(12 + c), _mm512_shuffle_i32x4(odd, later_odd, 0xdd));
    }
}

template <typename T>
auto* as_words(T* x) {
    return reinterpret_cast<std::conditional_t<std::is_const_v<T>, const uint32_t, uint32_t>*>(x);
}

// Pack the transposed of rows (n, d) as the right factor (d, n) of a product that sums over d.
template <typename T>
void pack_transposed(const T* rows, int64_t n, int64_t d, T* out) {
    const int64_t words = d / Words<T>::kPerWord;
    for (int64_t i = 0; i < n; i += kLanes)
        for (int64_t w = 0; w < words; w += kLanes)
            transpose(as_words(rows) + i * words + w, words, as_words(out) + i * words + w * kLanes,
                      kLanes);
}

// Two rows of 16 as words of two neighbours along the sum.
__m512i paired(__m256i upper, __m256i lower) {
    const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(lower), 16);
    return _mm512_or_si512(_mm512_cvtepu16_epi32(upper), high);
}

// Pack rows (n, d) as the right factor of a product that sums over n.
void pack(const float* rows, int64_t n, int64_t d, float* out) {
    for (int64_t c = 0; c < d; c += kLanes)
        for (int64_t i = 0; i < n; ++i)
            _mm512_storeu_ps(out + c * n + i * kLanes, _mm512_loadu_ps(rows + i * d + c));
}
void pack(const uint16_t* rows, int64_t n, int64_t d, uint16_t* out) {
    const auto load = [](const uint16_t* x) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
    };
    for (int64_t c = 0; c < d; c += kLanes)
        for (int64_t i = 0; i < n; i += 2)
            _mm512_storeu_si512(out + c * n + i * kLanes,
                                paired(load(rows + i * d + c), load(rows + (i + 1) * d + c)));
}

// Turn what `pack` gave for (n, d) into the left factor (d, n).
template <typename T>
void transpose_packed(const T* packed, int64_t n, int64_t d, T* out) {
    const int64_t words = n / Words<T>::kPerWord;
    for (int64_t c = 0; c < d; c += kLanes)
        for (int64_t w = 0; w < words; w += kLanes)
            transpose(as_words(packed) + c * words + w * kLanes, kLanes,
                      as_words(out) + c * words + w, words);
}

}  // namespace
