// Causal attention of stacked projections, forward and backward, rotation included, for AVX-512.
//
// One thread owns a key head of a window, with all query heads that read it, so results don't
// depend on the number of threads. It takes 64 queries at a time, whose rows of scores stay in its
// nearest cache. Products take factors in the type T of the projections (float, or bfloat16 as
// uint16_t) and sum in float; so do rotation, softmax and their gradients. Backward recomputes the
// weights from the saved logarithms of the totals (Dao 2023, FlashAttention-2, arXiv:2307.08691,
// algorithm 2). All arrays belong to the caller, which also checks every size. The layout of
// Geometry is repeated in attention.py.

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "avx512.h"
#include "products.h"

namespace {

constexpr int64_t kRows = 64;   // of queries at once
constexpr int64_t kGrain = 32;  // lengths and widths are padded to it

enum Rotation { kNone, kAdjacent, kHalf };

struct Geometry {
    int64_t batch, length, heads, key_heads, width, rotation, threads;
};

int64_t padded(int64_t n) { return (n + kGrain - 1) / kGrain * kGrain; }

// ---- Rows of the projections. ----

// The factors of the rotation for each dimension: x cos + partner sin.
struct Tables {
    Tables(const Geometry& g, const float* half_cos, const float* half_sin)
        : rotation(g.rotation), half(g.width / 2) {
        if (rotation == kNone) return;
        cos.resize(g.length * g.width);
        sin.resize(g.length * g.width);
        for (int64_t position = 0; position < g.length; ++position)
            for (int64_t j = 0; j < half; ++j) {
                const int64_t first = position * g.width + (rotation == kHalf ? j : 2 * j);
                const int64_t second = first + (rotation == kHalf ? half : 1);
                cos[first] = cos[second] = half_cos[position * half + j];
                sin[second] = half_sin[position * half + j];
                sin[first] = -sin[second];
            }
    }

    // The partners of the 16 dimensions from i on.
    template <typename T>
    __m512 partners(const T* x, int64_t i) const {
        if (rotation == kAdjacent) return _mm512_permute_ps(Words<T>::load(x + i), 0xb1);
        if (half >= kLanes) return Words<T>::load(x + (i < half ? i + half : i - half));
        const __m512 all = Words<T>::load(x);
        return _mm512_shuffle_f32x4(all, all, 0x4e);
    }

    int64_t rotation, half;
    std::vector<float> cos, sin;  // (positions, width)
};

// Write `scale` times a row, turned by its position if there are `tables`, back if `direction` is
// -1. Widths are multiples of 16.
template <typename From, typename To>
void write_row(const From* x, int64_t width, const Tables* tables, int64_t position, float direction,
               float scale, To* out) {
    const bool turns = tables && tables->rotation != kNone;
    for (int64_t i = 0; i < width; i += kLanes) {
        __m512 row = Words<From>::load(x + i);
        if (turns) {
            const int64_t at = position * width + i;
            const __m512 sin = _mm512_mul_ps(_mm512_loadu_ps(tables->sin.data() + at),
                                             _mm512_set1_ps(direction));
            row = _mm512_mul_ps(row, _mm512_loadu_ps(tables->cos.data() + at));
            row = _mm512_fmadd_ps(tables->partners(x, i), sin, row);
        }
        Words<To>::store(out + i, _mm512_mul_ps(row, _mm512_set1_ps(scale)));
    }
}

// Copy rows first .. first + n of one head, turned if there are `tables`; rows past `length` and
// columns past `width` are zero, so that sums over them add nothing.
template <typename T>
void gather(const T* x, int64_t row, const Geometry& g, const Tables* tables, int64_t first,
            int64_t n, T* out) {
    const int64_t d = padded(g.width), there = std::clamp<int64_t>(g.length - first, 0, n);
    for (int64_t i = 0; i < there; ++i) {
        write_row(x + (first + i) * row, g.width, tables, first + i, 1, 1, out + i * d);
        std::fill(out + i * d + g.width, out + (i + 1) * d, T{0});
    }
    std::fill(out + there * d, out + n * d, T{0});
}

// ---- Softmax. ----

// Replace the scores of a row, of which it sees the first `seen`, by e^(scale (score - highest)) in
// the type of the products; zero from there to `columns`. Returns the logarithm of the total of
// e^(scale score), and that of the weights in `total`.
template <typename T>
float weigh(const float* scores, int64_t seen, int64_t columns, float scale, T* out, float& total) {
    __m512 most = _mm512_set1_ps(-INFINITY);
    for (int64_t j = 0; j < seen; j += kLanes)
        most = _mm512_mask_max_ps(most, lanes_below(seen, j), most, _mm512_loadu_ps(scores + j));
    const float highest = _mm512_reduce_max_ps(most);
    const __m512 factor = _mm512_set1_ps(scale), offset = _mm512_set1_ps(highest);
    __m512 sum = _mm512_setzero_ps();
    int64_t j = 0;
    for (; j < seen; j += kLanes) {
        const __m512 below = _mm512_sub_ps(_mm512_loadu_ps(scores + j), offset);
        const __m512 weight =
            _mm512_maskz_mov_ps(lanes_below(seen, j), exponential(_mm512_mul_ps(below, factor)));
        sum = _mm512_add_ps(sum, weight);
        Words<T>::store(out + j, weight);
    }
    for (; j < columns; j += kLanes) Words<T>::store(out + j, _mm512_setzero_ps());
    total = _mm512_reduce_add_ps(sum);
    return scale * highest + std::log(total);
}

template <typename T>
float inner(const T* x, const T* y, int64_t width) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t c = 0; c < width; c += kLanes)
        sum = _mm512_fmadd_ps(Words<T>::load(x + c), Words<T>::load(y + c), sum);
    return _mm512_reduce_add_ps(sum);
}

// Words of a right factor that is summed over rows, from one row of floats or two narrow ones.
__m512i factor_word(const __m512 (&rows)[1], const float*) { return _mm512_castps_si512(rows[0]); }
#ifdef __AVX512BF16__
__m512i factor_word(const __m512 (&rows)[2], const uint16_t*) {
    return paired(Words<uint16_t>::narrow(rows[0]), Words<uint16_t>::narrow(rows[1]));
}
#endif

// ---- One head. ----

template <typename T>
struct Scratch {
    Scratch(const Geometry& g, bool is_backward)
        : Scratch(padded(g.length), padded(g.width), is_backward ? 1 : 0) {}

    // `b` is 1 for backward, and leaves its arrays empty otherwise.
    Scratch(int64_t n, int64_t d, int64_t b)
        : scores(kRows * n), out(kRows * d), d_weights(b * kRows * n), d_keys_t(b * n * d),
          d_values_t(b * n * d), turned(b * kLanes * d), rows(std::max(n, kRows) * d), keys(n * d),
          values(n * d), weights(kRows * n), key_rows(b * n * d), packed_weights(b * kRows * n),
          packed_scores(b * kRows * n), packed(b * kRows * d), queries_t(b * kRows * d),
          d_out_t(b * kRows * d) {}

    std::vector<float> scores, out, d_weights, d_keys_t, d_values_t, turned;
    std::vector<T> rows, keys, values, weights, key_rows, packed_weights, packed_scores, packed,
        queries_t, d_out_t;
};

// A head's rows in the projections and elsewhere.
struct Head {
    Head(const Geometry& g, int64_t batch, int64_t head)
        : in_row((g.heads + 2 * g.key_heads) * g.width),
          out_row(g.heads * g.width),
          q(batch * g.length * in_row + head * g.width),
          k(batch * g.length * in_row + (g.heads + head / (g.heads / g.key_heads)) * g.width),
          v(k + g.key_heads * g.width),
          out(batch * g.length * out_row + head * g.width),
          total((batch * g.heads + head) * g.length) {}

    int64_t in_row, out_row, q, k, v, out, total;
};

// Rows of the block of queries from `first` on, padded.
int64_t rows_of(const Geometry& g, int64_t first) {
    return std::min(kRows, padded(g.length) - first);
}

// Scores of rows first .. first + n, without the upper right corner of a block where possible.
template <typename T>
void score(const Geometry& g, const T* rows, const std::vector<T>& keys, int64_t first, int64_t n,
           std::vector<float>& scores) {
    const int64_t d = padded(g.width), words = d / Words<T>::kPerWord, all = padded(g.length);
    for (int64_t i = 0; i < n; i += kGrain)
        multiply(kGrain, first + i + kGrain, words, rows + i * d, words, keys.data(),
                 words * kLanes, scores.data() + i * all, all, false);
}

template <typename T>
void forward_group(const Geometry& g, const Tables& tables, int64_t batch, int64_t key_head,
                   const T* qkv, T* out, float* log_totals, Scratch<T>& s) {
    const int64_t all = padded(g.length), d = padded(g.width), group = g.heads / g.key_heads;
    const int64_t row_words = all / Words<T>::kPerWord;
    const float scale = 1 / std::sqrt(static_cast<float>(g.width));
    const Head shared(g, batch, key_head * group);
    gather(qkv + shared.k, shared.in_row, g, &tables, 0, all, s.rows.data());
    pack_transposed(s.rows.data(), all, d, s.keys.data());
    gather(qkv + shared.v, shared.in_row, g, nullptr, 0, all, s.rows.data());
    pack(s.rows.data(), all, d, s.values.data());
    for (int64_t member = 0; member < group; ++member) {
        const Head head(g, batch, key_head * group + member);
        for (int64_t first = 0; first < g.length; first += kRows) {
            const int64_t n = rows_of(g, first), columns = first + n;
            float totals[kRows];
            gather(qkv + head.q, head.in_row, g, &tables, first, n, s.rows.data());
            score(g, s.rows.data(), s.keys, first, n, s.scores);
            for (int64_t i = 0; i < n; ++i) {
                const float logarithm = weigh(s.scores.data() + i * all, first + i + 1, columns,
                                              scale, s.weights.data() + i * all, totals[i]);
                if (first + i < g.length) log_totals[head.total + first + i] = logarithm;
            }
            multiply(n, d, columns / Words<T>::kPerWord, s.weights.data(), row_words,
                     s.values.data(), row_words * kLanes, s.out.data(), d, false);
            for (int64_t i = 0; i < std::min(n, g.length - first); ++i) {
                const float* row = s.out.data() + i * d;
                write_row(row, g.width, nullptr, 0, 1, 1 / totals[i],
                          out + head.out + (first + i) * head.out_row);
            }
        }
    }
}

// From scores and the gradient of the weights, in float, compute weights and the gradient of the
// scores in the type T: both as right factors summed over rows, the latter also as rows.
template <typename T>
void weigh_backward(const Geometry& g, int64_t first, int64_t n, float scale, const float* logs,
                    const float* deltas, Scratch<T>& s) {
    constexpr int kMany = Words<T>::kPerWord;
    const int64_t all = padded(g.length), columns = first + n, block = n * kLanes;
    const __m512 factor = _mm512_set1_ps(scale);
    for (int64_t i = 0; i < n; i += kMany) {
        for (int64_t j = 0; j < columns; j += kLanes) {
            __m512 weights[kMany], d_scores[kMany];
            for (int r = 0; r < kMany; ++r) {
                const int64_t at = (i + r) * all + j;
                // Rows past the end have no total; they weigh nothing.
                const int64_t seen = first + i + r < g.length ? first + i + r + 1 : 0;
                const __mmask16 mask = lanes_below(seen, j);
                const __m512 score = _mm512_maskz_loadu_ps(mask, s.scores.data() + at);
                const __m512 d_weight = _mm512_maskz_loadu_ps(mask, s.d_weights.data() + at);
                const __m512 power = _mm512_fmsub_ps(score, factor, _mm512_set1_ps(logs[i + r]));
                weights[r] = _mm512_maskz_mov_ps(mask, exponential(power));
                d_scores[r] = _mm512_mul_ps(
                    weights[r], _mm512_sub_ps(d_weight, _mm512_set1_ps(deltas[i + r])));
                Words<T>::store(s.weights.data() + at, d_scores[r]);
            }
            const int64_t at = j / kLanes * block + i * kLanes;
            const T* type = nullptr;
            _mm512_storeu_si512(s.packed_weights.data() + at, factor_word(weights, type));
            _mm512_storeu_si512(s.packed_scores.data() + at, factor_word(d_scores, type));
        }
    }
}

// Write the gradients of keys or values, which were summed with their rows as columns.
template <typename T>
void scatter_transposed(const Geometry& g, const std::vector<float>& sums, const Tables* tables,
                        float scale, int64_t row, T* out, std::vector<float>& turned) {
    const int64_t all = padded(g.length), d = padded(g.width);
    for (int64_t first = 0; first < g.length; first += kLanes) {
        for (int64_t c = 0; c < d; c += kLanes)
            transpose(as_words(sums.data()) + c * all + first, all, as_words(turned.data()) + c, d);
        for (int64_t i = 0; i < std::min(kLanes, g.length - first); ++i)
            write_row(turned.data() + i * d, g.width, tables, first + i, -1, scale,
                      out + (first + i) * row);
    }
}

template <typename T>
void backward_group(const Geometry& g, const Tables& tables, int64_t batch, int64_t key_head,
                    const T* d_out, const T* qkv, const T* out, const float* log_totals, T* d_qkv,
                    Scratch<T>& s) {
    const int64_t all = padded(g.length), d = padded(g.width), group = g.heads / g.key_heads;
    constexpr int64_t kMany = Words<T>::kPerWord;
    const int64_t row_words = all / kMany;
    const float scale = 1 / std::sqrt(static_cast<float>(g.width));
    const Head shared(g, batch, key_head * group);
    gather(qkv + shared.k, shared.in_row, g, &tables, 0, all, s.rows.data());
    pack_transposed(s.rows.data(), all, d, s.keys.data());
    pack(s.rows.data(), all, d, s.key_rows.data());
    gather(qkv + shared.v, shared.in_row, g, nullptr, 0, all, s.rows.data());
    pack_transposed(s.rows.data(), all, d, s.values.data());
    std::fill(s.d_keys_t.begin(), s.d_keys_t.end(), 0.0f);
    std::fill(s.d_values_t.begin(), s.d_values_t.end(), 0.0f);
    for (int64_t member = 0; member < group; ++member) {
        const Head head(g, batch, key_head * group + member);
        for (int64_t first = 0; first < g.length; first += kRows) {
            const int64_t n = rows_of(g, first), columns = first + n;
            float logs[kRows] = {}, deltas[kRows] = {};
            for (int64_t i = 0; i < std::min(n, g.length - first); ++i) {
                const int64_t at = head.out + (first + i) * head.out_row;
                deltas[i] = inner(out + at, d_out + at, g.width);
                logs[i] = log_totals[head.total + first + i];
            }
            gather(d_out + head.out, head.out_row, g, nullptr, first, n, s.rows.data());
            score(g, s.rows.data(), s.values, first, n, s.d_weights);
            pack(s.rows.data(), n, d, s.packed.data());
            transpose_packed(s.packed.data(), n, d, s.d_out_t.data());
            gather(qkv + head.q, head.in_row, g, &tables, first, n, s.rows.data());
            score(g, s.rows.data(), s.keys, first, n, s.scores);
            pack(s.rows.data(), n, d, s.packed.data());
            transpose_packed(s.packed.data(), n, d, s.queries_t.data());

            weigh_backward(g, first, n, scale, logs, deltas, s);
            const int64_t n_words = n / kMany, block = n_words * kLanes;
            multiply(d, columns, n_words, s.d_out_t.data(), n_words, s.packed_weights.data(), block,
                     s.d_values_t.data(), all, true);
            multiply(d, columns, n_words, s.queries_t.data(), n_words, s.packed_scores.data(),
                     block, s.d_keys_t.data(), all, true);
            multiply(n, d, columns / kMany, s.weights.data(), row_words, s.key_rows.data(),
                     row_words * kLanes, s.out.data(), d, false);
            for (int64_t i = 0; i < std::min(n, g.length - first); ++i)
                write_row(s.out.data() + i * d, g.width, &tables, first + i, -1, scale,
                          d_qkv + head.q + (first + i) * head.in_row);
        }
    }
    scatter_transposed(g, s.d_keys_t, &tables, scale, shared.in_row, d_qkv + shared.k, s.turned);
    scatter_transposed(g, s.d_values_t, nullptr, 1, shared.in_row, d_qkv + shared.v, s.turned);
}

// Run `work` on every key head of every window.
template <typename T, typename Work>
void for_each_group(const Geometry& g, bool is_backward, Work work) {
#pragma omp parallel num_threads(static_cast<int>(g.threads))
    {
        Tiles tiles(sizeof(T) == 2);
        Scratch<T> scratch(g, is_backward);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < g.batch * g.key_heads; ++i)
            work(i / g.key_heads, i % g.key_heads, scratch);
    }
}

}  // namespace

// To be asked once, before the rest.
extern "C" int knows(int64_t bytes) { return is_known(bytes) && (bytes == 4 || may_use_tiles()); }

// Write out (b, t, heads * width) and log_totals (b, heads, t) from qkv (b, t, (heads + 2 key_heads)
// * width).
extern "C" void attention_forward(const Geometry* g, int64_t bytes, const void* qkv,
                                  const float* cos, const float* sin, void* out,
                                  float* log_totals) {
    const Tables tables(*g, cos, sin);
    with_type(bytes, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        for_each_group<T>(*g, false, [&](int64_t batch, int64_t key_head, Scratch<T>& scratch) {
            forward_group(*g, tables, batch, key_head, static_cast<const T*>(qkv),
                          static_cast<T*>(out), log_totals, scratch);
        });
    });
}

// Write d_qkv from d_out, and from what forward read and wrote.
extern "C" void attention_backward(const Geometry* g, int64_t bytes, const void* d_out,
                                   const void* qkv, const float* cos, const float* sin,
                                   const void* out, const float* log_totals, void* d_qkv) {
    const Tables tables(*g, cos, sin);
    with_type(bytes, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        for_each_group<T>(*g, true, [&](int64_t batch, int64_t key_head, Scratch<T>& scratch) {
            backward_group(*g, tables, batch, key_head, static_cast<const T*>(d_out),
                           static_cast<const T*>(qkv), static_cast<const T*>(out), log_totals,
                           static_cast<T*>(d_qkv), scratch);
        });
    });
}
