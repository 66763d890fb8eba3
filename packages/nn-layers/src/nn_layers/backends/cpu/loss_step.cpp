// Cross entropy of rows of logits, replaced by its gradient, for AVX-512.
//
// A row is read once from memory and written once; in between, it stays in the nearest cache. One
// thread owns a row, so results don't depend on the number of threads. All arrays belong to the
// caller, which also checks sizes and targets.

#include <cmath>
#include <vector>

#include "avx512.h"

namespace {

// Returns -log softmax at the target; the row becomes (softmax - onehot(target)) * share. `powers`
// has room for the row, padded to 16.
template <typename T>
float replace_row(T* row, int64_t columns, int64_t target, float share, float* powers) {
    __m512 most = _mm512_set1_ps(-INFINITY);
    for (int64_t j = 0; j < columns; j += kLanes) {
        const __mmask16 mask = lanes_below(columns, j);
        const __m512 logits = Words<T>::load(row + j, mask);
        most = _mm512_mask_max_ps(most, mask, most, logits);
        _mm512_storeu_ps(powers + j, logits);
    }
    const float top = _mm512_reduce_max_ps(most), at_target = powers[target] - top;
    __m512 sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < columns; j += kLanes) {
        const __m512 below = _mm512_sub_ps(_mm512_loadu_ps(powers + j), _mm512_set1_ps(top));
        const __m512 power = exponential(below);
        sum = _mm512_mask_add_ps(sum, lanes_below(columns, j), sum, power);
        _mm512_storeu_ps(powers + j, power);
    }
    const float total = _mm512_reduce_add_ps(sum);
    powers[target] -= total;
    const __m512 factor = _mm512_set1_ps(share / total);
    for (int64_t j = 0; j < columns; j += kLanes) {
        const __m512 gradient = _mm512_mul_ps(_mm512_loadu_ps(powers + j), factor);
        Words<T>::store(row + j, lanes_below(columns, j), gradient);
    }
    return std::log(total) - at_target;
}

template <typename T>
void replace(T* logits, const int64_t* targets, int64_t rows, int64_t columns, float share,
             int64_t threads, float* losses) {
#pragma omp parallel num_threads(static_cast<int>(threads))
    {
        std::vector<float> powers(columns + kLanes);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < rows; ++i)
            losses[i] =
                replace_row(logits + i * columns, columns, targets[i], share, powers.data());
    }
}

}  // namespace

// To be asked once, before the rest.
extern "C" int knows(int64_t bytes) { return is_known(bytes); }

// logits (rows, columns), in place; losses (rows), written.
extern "C" void loss_replace(void* logits, const int64_t* targets, float* losses, int64_t bytes,
                             int64_t rows, int64_t columns, int64_t threads, float share) {
    with_type(bytes, [&](auto* type) {
        replace(static_cast<decltype(type)>(logits), targets, rows, columns, share, threads, losses);
    });
}
