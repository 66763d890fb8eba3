// One token further through the whole Transformer, by one team of threads.
//
// One thread computes a row of a matrix, whatever the numbers of threads and of sequences, so
// results depend on neither. Weights are float, bfloat16 (as uint16_t), or int8 with one scale per row;
// everything else is float. All arrays belong to the caller, which also checks every size; keys,
// values, scratch and logits are written. The layouts of the structures are repeated in decoder.py.

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace {

struct Matrix {
    const void* weights;  // (rows, columns), row by row
    const float* scales;  // (rows); null but for int8
    int64_t rows, columns;
};

struct Layer {
    Matrix q, k, v, output, up, gate, down;        // gate.weights is null where there is no gate
    const float *norm1, *norm2, *q_norm, *k_norm;  // gains; null where there is no norm
};

enum Norm { kNone, kPre, kPost };

struct Model {
    Matrix embedding, head;
    const Layer* layers;
    const float* final_norm;
    const float *cos, *sin;  // (context, d_head / 2); null without rotation
    int64_t num_layers, num_heads, num_kv_heads, d_model, d_head, d_ff, context, vocab;
    int64_t norm, has_halves;  // halves of a head rotate together, else neighbours
    int64_t num_threads;
    float eps;
};

struct Call {
    int64_t batch;
    const int64_t *tokens, *positions;  // (batch)
    float* const* keys;                 // (batch, layers) of (kv heads, context, d_head)
    float* const* values;
    float* shared;  // batch * (2 d_model + 2 d_kv + d_ff)
    float* own;     // per thread: batch * 2 d_model + context
    float* logits;  // (batch, vocab)
};

// Wait for all threads, in the way that the process chose for OpenMP: a loop of ours would spin on
// a busy machine.
void meet() {
#ifdef _OPENMP
#pragma omp barrier
#endif
}

// One of the threads, and which part of some work is its own.
struct Member {
    int64_t index, size;

    int64_t begin(int64_t work) const { return work * index / size; }
    int64_t end(int64_t work) const { return work * (index + 1) / size; }
};

float widen(float w) { return w; }
float widen(uint16_t w) {
    const uint32_t bits = static_cast<uint32_t>(w) << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
}
float widen(int8_t w) { return static_cast<float>(w); }

// The compiler vectorises this loop; with GCC 12's vector extensions it converted narrow weights
// one by one.
template <typename W>
inline float dot(const W* w, const float* x, int64_t n) {
    float sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += widen(w[i]) * x[i];
    return sum;
}

// This thread's rows of y = W x, for each sequence, as use(sequence, row, y); x is (batch, columns).
template <typename W, typename Use>
inline void multiply(const Member& me, const Matrix& m, const float* x, int64_t batch, Use use) {
    const int64_t n = m.columns, end = me.end(m.rows);
    for (int64_t row = me.begin(m.rows); row < end; ++row) {
        const W* w = static_cast<const W*>(m.weights) + row * n;
        const float scale = m.scales ? m.scales[row] : 1;
        for (int64_t b = 0; b < batch; ++b) use(b, row, dot(w, x + b * n, n) * scale);
    }
}

void normalise(const float* x, const float* gain, float eps, int64_t n, float* out) {
    float squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += x[i] * x[i];
    const float scale = 1 / std::sqrt(squares / n + eps);
    for (int64_t i = 0; i < n; ++i) out[i] = x[i] * scale * gain[i];
}

void rotate(const Model& m, int64_t position, float* x) {
    if (!m.cos) return;
    const int64_t half = m.d_head / 2;
    for (int64_t j = 0; j < half; ++j) {
        const float c = m.cos[position * half + j], s = m.sin[position * half + j];
        float& a = x[m.has_halves ? j : 2 * j];
        float& b = x[m.has_halves ? j + half : 2 * j + 1];
        const float turned = a * c - b * s;
        b = a * s + b * c;
        a = turned;
    }
}

// One key head of one sequence; the query heads that read it are replaced by their result.
void attend(const Model& m, const Layer& layer, int64_t position, float* q, float* k, const float* v,
            float* keys, float* values, float* scores) {
    const int64_t width = m.d_head;
    if (layer.k_norm) normalise(k, layer.k_norm, m.eps, width, k);
    rotate(m, position, k);
    std::memcpy(keys + position * width, k, width * sizeof(float));
    std::memcpy(values + position * width, v, width * sizeof(float));
    const float scale = 1 / std::sqrt(static_cast<float>(width));
    for (int64_t head = 0; head < m.num_heads / m.num_kv_heads; ++head, q += width) {
        if (layer.q_norm) normalise(q, layer.q_norm, m.eps, width, q);
        rotate(m, position, q);
        float highest = -INFINITY, total = 0;
        for (int64_t s = 0; s <= position; ++s) {
            float score = 0;
            for (int64_t i = 0; i < width; ++i) score += q[i] * keys[s * width + i];
            scores[s] = score * scale;
            highest = scores[s] > highest ? scores[s] : highest;
        }
        std::memset(q, 0, width * sizeof(float));
        for (int64_t s = 0; s <= position; ++s) {
            const float weight = std::exp(scores[s] - highest);
            total += weight;
            for (int64_t i = 0; i < width; ++i) q[i] += weight * values[s * width + i];
        }
        for (int64_t i = 0; i < width; ++i) q[i] /= total;
    }
}

template <typename W>
void embed(const Model& m, const Call& call, float* x) {
    const int64_t d = m.d_model;
    for (int64_t b = 0; b < call.batch; ++b) {
        const int64_t token = call.tokens[b];
        const W* row = static_cast<const W*>(m.embedding.weights) + token * d;
        const float scale = m.embedding.scales ? m.embedding.scales[token] : 1;
        for (int64_t i = 0; i < d; ++i) x[b * d + i] = widen(row[i]) * scale;
    }
}

// The work of one thread; all of them meet between stages.
template <typename W>
void work(const Model& m, const Call& call, const Member& me) {
    const int64_t batch = call.batch, d = m.d_model, d_kv = m.num_kv_heads * m.d_head, f = m.d_ff;
    float *x = call.shared, *q = x + batch * d, *k = q + batch * d, *v = k + batch * d_kv;
    float* inner = v + batch * d_kv;
    float* in = call.own + me.index * (2 * batch * d + m.context);
    float *residual = in + batch * d, *scores = residual + batch * d;

    // The input of a sublayer, and what its result is added to; each thread computes its own.
    const auto read = [&](const float* gain) {
        for (int64_t b = 0; b < batch; ++b) {
            float *seen = in + b * d, *kept = residual + b * d;
            if (gain) normalise(x + b * d, gain, m.eps, d, seen);
            else std::memcpy(seen, x + b * d, d * sizeof(float));
            std::memcpy(kept, m.norm == kPre ? x + b * d : seen, d * sizeof(float));
        }
    };
    const auto to = [](float* out, int64_t width) {
        return [=](int64_t b, int64_t r, float y) { out[b * width + r] = y; };
    };
    const auto add = [=](int64_t b, int64_t r, float y) { x[b * d + r] = residual[b * d + r] + y; };

    if (me.index == 0) embed<W>(m, call, x);
    meet();
    const float* ended_by = nullptr;  // for kPost, the norm at the end of the previous layer
    for (int64_t l = 0; l < m.num_layers; ++l) {
        const Layer& layer = m.layers[l];
        read(m.norm == kPre ? layer.norm1 : ended_by);
        multiply<W>(me, layer.q, in, batch, to(q, d));
        multiply<W>(me, layer.k, in, batch, to(k, d_kv));
        multiply<W>(me, layer.v, in, batch, to(v, d_kv));
        meet();
        const int64_t heads = batch * m.num_kv_heads, group = m.num_heads / m.num_kv_heads;
        for (int64_t n = me.begin(heads); n < me.end(heads); ++n) {
            const int64_t b = n / m.num_kv_heads, head = n % m.num_kv_heads;
            const int64_t at = b * m.num_layers + l, first = head * m.context * m.d_head;
            attend(m, layer, call.positions[b], q + n * group * m.d_head, k + n * m.d_head,
                   v + n * m.d_head, call.keys[at] + first, call.values[at] + first, scores);
        }
        meet();
        multiply<W>(me, layer.output, q, batch, add);
        meet();
        read(m.norm == kPre ? layer.norm2 : m.norm == kPost ? layer.norm1 : nullptr);
        if (layer.gate.weights) multiply<W>(me, layer.up, in, batch, to(inner, f));
        // The same rows of both matrices belong to the same thread, so it need not wait.
        const bool has_gate = layer.gate.weights != nullptr;
        multiply<W>(me, has_gate ? layer.gate : layer.up, in, batch,
                    [=](int64_t b, int64_t r, float y) {
                        float& into = inner[b * f + r];
                        into = (has_gate ? into : 1.0f) * y / (1 + std::exp(-y));
                    });
        meet();
        multiply<W>(me, layer.down, inner, batch, add);
        meet();
        ended_by = m.norm == kPost ? layer.norm2 : nullptr;
    }
    read(m.norm == kPre ? m.final_norm : ended_by);
    multiply<W>(me, m.head, in, batch, to(call.logits, m.vocab));
}

template <typename W>
void step(const Model& m, const Call& call) {
#ifdef _OPENMP
    // There may be fewer threads than requested.
#pragma omp parallel num_threads(static_cast<int>(m.num_threads))
    work<W>(m, call, {omp_get_thread_num(), omp_get_num_threads()});
#else
    work<W>(m, call, {0, 1});
#endif
}

}  // namespace

// Returns 0, or 1 if weights of that many bytes are unknown.
extern "C" int decode_step(const Model* m, int64_t weight_bytes, const Call* call) {
    if (weight_bytes == 4) step<float>(*m, *call);
    else if (weight_bytes == 2) step<uint16_t>(*m, *call);
    else if (weight_bytes == 1) step<int8_t>(*m, *call);
    else return 1;
    return 0;
}
