// An encoder-decoder Transformer with the weights of a trained one: what sightline's models/encoder_decoder.py computes, for
// inference. Vectors of d numbers lie one after another at a distance of `stride`, and what fills them up to it is zero.
#pragma once

#include <memory>
#include <stdexcept>
#include <vector>

#include "matrix.h"

namespace sightline {

enum class Activation : int32_t { relu, gelu, silu, swiglu };
enum class Core : int32_t { dot, cosine };

// What a model is made of; runtime/native.py fills the same fields in the same order.
struct Shape {
    int32_t d_model, n_heads, n_kv_heads, d_ff, encoder_layers, decoder_layers, src_vocab, tgt_vocab, max_len;
    int32_t norm_first;  // "pre"; else "post"
    int32_t rms;         // RMSNorm; else LayerNorm
    Activation activation;
    Core core;
    int32_t rotary;
    int32_t int8;  // weights and activations quantised; else float32
    int32_t pad_id, bos_id, eos_id;
    int32_t shortlists;  // searches may be given some

    int d_head() const { return d_model / n_heads; }
    int d_kv() const { return d_head() * n_kv_heads; }
};

// The tensors of a model, in the order in which its parts ask for them; null where there is none.
class Tensors {
   public:
    Tensors(const float* const* first, int count) : next(first), end(first + count) {}
    const float* take() {
        if (next == end) throw std::runtime_error("too few tensors");
        return *next++;
    }
    bool done() const { return next == end; }

   private:
    const float* const* next;
    const float* const* end;
};

struct Norm {
    Buffer<float> weight, bias;
    int d = 0;
    bool rms = false;

    void fill(Tensors& tensors, const Shape& shape) {
        d = shape.d_model, rms = shape.rms;
        const float *w = tensors.take(), *b = tensors.take();
        const int whole = round_up(d, W);
        std::fill_n(weight.reserve(whole), whole, 0.0f);
        std::fill_n(bias.reserve(whole), whole, 0.0f);
        std::copy_n(w, d, (float*)weight);
        if (b) std::copy_n(b, d, (float*)bias);
    }
    // One vector; `to` may be `x`.
    void apply(const float* x, float* to) const {
        vf total = all(0), squares = all(0);
        for (int i = 0; i < d; i += W) total += load(x + i);
        const float mean = rms ? 0.0f : sum(total) / d;
        for (int i = 0; i < d; i += W) {
            vf centred = load(x + i) - mean;
            squares += centred * centred;
        }
        const int beyond = round_up(d, W) - d;  // zeros that were counted as numbers
        const float variance = (sum(squares) - beyond * mean * mean) / d;
        const float by = 1.0f / std::sqrt(variance + (rms ? 1.1920929e-7f : 1e-5f));
        for (int i = 0; i < d; i += W) store(to + i, (load(x + i) - mean) * by * load(weight + i) + load(bias + i));
    }
};

// Room for what a layer computes; one for each search.
struct Workspace {
    explicit Workspace(Team& with) : team(with) {}
    Team& team;  // with which it shares its products
    Rows rows;
    Buffer<float> normed, projected, context, inner, gate, scores;
};

// softmax(q k^T / sqrt(d)) v for one query of one head over `count` keys and values, which lie `stride` apart at `places`, or one after
// another where that is null.
template <class T>
inline void attend(int d, const float* q, const T* keys, const T* values, int stride, const int32_t* places, int count, Buffer<float>& scores,
                   float* to) {
    const int width = round_up(count, W), whole = d / W * W;
    float* weight = scores.reserve(width);
    const float scale = 1.0f / std::sqrt(float(d));
    auto at = [=](int t) { return size_t(places ? places[t] : t) * stride; };
    int t = 0;
    for (; t + 4 <= count; t += 4) {
        const T *k0 = keys + at(t), *k1 = keys + at(t + 1), *k2 = keys + at(t + 2), *k3 = keys + at(t + 3);
        vf s0 = all(0), s1 = all(0), s2 = all(0), s3 = all(0);
        for (int i = 0; i < whole; i += W) {
            const vf each = load(q + i);
            s0 += each * load(k0 + i), s1 += each * load(k1 + i), s2 += each * load(k2 + i), s3 += each * load(k3 + i);
        }
        _mm_storeu_ps(weight + t, sums(s0, s1, s2, s3));
    }
    for (; t < count; t++) {
        vf s = all(0);
        for (int i = 0; i < whole; i += W) s += load(q + i) * load(keys + at(t) + i);
        _mm_store_ss(weight + t, sums(s, s, s, s));
    }
    if (whole < d)
        for (t = 0; t < count; t++)
            for (int i = whole; i < d; i++) weight[t] += q[i] * number(keys[at(t) + i]);
    for (t = count; t < width; t++) weight[t] = -INFINITY;
    vf most = all(-INFINITY), total = all(0);
    for (t = 0; t < width; t += W) most = max(most, load(weight + t));
    const float highest = largest(most);
    for (t = 0; t < width; t += W) {
        vf e = exp((load(weight + t) - highest) * scale);
        store(weight + t, e);
        total += e;
    }
    const float by = 1.0f / sum(total);
    int i = 0;
    for (; i + 4 * W <= d; i += 4 * W) {
        vf m0 = all(0), m1 = all(0), m2 = all(0), m3 = all(0);
        for (t = 0; t < count; t++) {
            const T* v = values + at(t) + i;
            const vf share = all(weight[t]);
            m0 += load(v) * share, m1 += load(v + W) * share, m2 += load(v + 2 * W) * share, m3 += load(v + 3 * W) * share;
        }
        store(to + i, m0 * by), store(to + i + W, m1 * by), store(to + i + 2 * W, m2 * by), store(to + i + 3 * W, m3 * by);
    }
    for (; i < whole; i += W) {
        vf mean = all(0);
        for (t = 0; t < count; t++) mean += load(values + at(t) + i) * weight[t];
        store(to + i, mean * by);
    }
    for (; i < d; i++) {
        float mean = 0;
        for (t = 0; t < count; t++) mean += number(values[at(t) + i]) * weight[t];
        to[i] = mean * by;
    }
}

// The key/value cache of a layer for one sentence, or the keys and values of its source: [head, place, d], so that what a head reads lies together.
template <class T>
class KeyValueCache {
   public:
    void resize(const Shape& shape, int places) {
        const int d = shape.d_head(), heads = shape.n_kv_heads;
        Buffer<T> more(size_t(2) * heads * places * d);
        for (int head = 0; head < 2 * heads && room; head++)
            std::copy_n(held + size_t(head) * room * d, size_t(room) * d, more + size_t(head) * places * d);
        held = std::move(more);
        room = places;
    }
    // Put one place's keys and values [2 * d_kv] there.
    void write(const Shape& shape, int place, const float* key_value) {
        const int d = shape.d_head(), whole = d / W * W;
        for (int head = 0; head < 2 * shape.n_kv_heads; head++, key_value += d) {
            T* to = held + (size_t(head) * room + place) * d;
            for (int i = 0; i < whole; i += W) store(to + i, load(key_value + i));
            for (int i = whole; i < d; i++) put(to + i, key_value[i]);
        }
    }
    // What a query [d_model] with all its heads finds at `count` places.
    void attend_with(const Shape& shape, const float* q, const int32_t* places, int count, Buffer<float>& scores, float* to) const {
        const int d = shape.d_head(), group = shape.n_heads / shape.n_kv_heads;
        for (int head = 0; head < shape.n_heads; head++) {
            const T* keys = held + size_t(head / group) * room * d;
            attend(d, q + head * d, keys, keys + size_t(shape.n_kv_heads) * room * d, d, places, count, scores, to + head * d);
        }
    }
    int room = 0;

   private:
    Buffer<T> held;
};

// Self-attention with its projections, or attention to a memory, whose keys and values are projected apart.
struct Attention {
    Matrix query_key_value, query, key_value, output;
    Buffer<float> sharpness;  // of the cosine core, one for each head
    const Shape* shape = nullptr;

    void fill(Tensors& tensors, const Shape& given, bool to_memory) {
        shape = &given;
        const int d = given.d_model;
        Matrix::Part parts[3];
        for (int i = 0; i < 3; i++) {
            const float *w = tensors.take(), *b = tensors.take();
            parts[i] = {w, b, i ? given.d_kv() : d};
        }
        if (to_memory) {
            query.fill(parts, 1, d, given.int8);
            key_value.fill(parts + 1, 2, d, given.int8);
        } else {
            query_key_value.fill(parts, 3, d, given.int8);
        }
        const float *w = tensors.take(), *b = tensors.take();
        const Matrix::Part out = {w, b, d};
        output.fill(&out, 1, d, given.int8);
        if (const float* sharp = tensors.take()) std::copy_n(sharp, given.n_heads, sharpness.reserve(given.n_heads));
    }
    // Queries or keys of one place, as the core and the positions want them.
    void turn_queries(float* q, const float* angles) const {
        turn(q, shape->n_heads, angles);
        if (shape->core == Core::cosine) normalise(q, shape->n_heads, true);
    }
    void turn_keys(float* k, const float* angles) const {
        turn(k, shape->n_kv_heads, angles);
        if (shape->core == Core::cosine) normalise(k, shape->n_kv_heads, false);
    }

   private:
    void turn(float* x, int heads, const float* angles) const {
        const int d = shape->d_head();
        if (!angles) return;
        for (int head = 0; head < heads; head++, x += d)
            for (int i = 0; i < d; i += 2) {
                const float cosine = angles[i], sine = angles[i + 1], even = x[i], odd = x[i + 1];
                x[i] = even * cosine - odd * sine;
                x[i + 1] = even * sine + odd * cosine;
            }
    }
    void normalise(float* x, int heads, bool sharpen) const {
        const int d = shape->d_head();
        for (int head = 0; head < heads; head++, x += d) {
            float squares = 0;
            for (int i = 0; i < d; i++) squares += x[i] * x[i];
            float by = 1.0f / std::max(std::sqrt(squares), 1e-12f);
            if (sharpen) by *= sharpness[head] * std::sqrt(float(d));  // `attend` divides by it
            for (int i = 0; i < d; i++) x[i] *= by;
        }
    }
};

struct FeedForward {
    Matrix up, gate, down;
    const Shape* shape = nullptr;

    void fill(Tensors& tensors, const Shape& given) {
        shape = &given;
        Matrix::Part parts[3];
        for (int i = 0; i < 3; i++) {
            const float *w = tensors.take(), *b = tensors.take();
            parts[i] = {w, b, i == 2 ? given.d_model : given.d_ff};
        }
        up.fill(parts, 1, given.d_model, given.int8);
        if (parts[1].weight) gate.fill(parts + 1, 1, given.d_model, given.int8);
        down.fill(parts + 2, 1, given.d_ff, given.int8);
    }
};

inline vf activated(Activation kind, vf x) {
    if (kind == Activation::relu) return max(x, all(0));
    if (kind == Activation::gelu) return 0.5f * x * (1.0f + erf(x * 0.70710678f));
    return x / (1.0f + exp(-x));
}

struct Block {
    Norm self_norm, cross_norm, ffn_norm;
    Attention self_attn, cross_attn;
    FeedForward ffn;

    void fill(Tensors& tensors, const Shape& shape, bool in_decoder) {
        self_norm.fill(tensors, shape);
        self_attn.fill(tensors, shape, false);
        if (in_decoder) {
            cross_norm.fill(tensors, shape);
            cross_attn.fill(tensors, shape, true);
        }
        ffn_norm.fill(tensors, shape);
        ffn.fill(tensors, shape);
    }
};

// A vector for each token. Tables that are bytes somewhere else are read from there.
struct Embedding {
    Buffer<float> vectors;
    const Matrix* shared = nullptr;
    int d = 0;

    void fill(const float* weight, int vocab, int d_model, const Matrix* same) {
        d = d_model, shared = same;
        if (shared) return;
        std::copy_n(weight, size_t(vocab) * d, vectors.reserve(size_t(vocab) * d));
    }
    void look_up(int32_t token, float* to) const {
        if (shared) return shared->row(token, to);
        std::copy_n(vectors + size_t(token) * d, d, to);
    }
};

class Model {
   public:
    Shape shape;
    int stride;  // between vectors of d_model numbers

    Model(const Shape& given, Tensors tensors) : shape(given), stride(stride_of<float>(round_up(given.d_model, P))) {
        const float *src = tensors.take(), *tgt = tensors.take(), *head = tensors.take(), *head_bias = tensors.take();
        const Matrix::Part out = {head, head_bias, shape.tgt_vocab};
        output.fill(&out, 1, shape.d_model, shape.int8);
        if (shape.shortlists) output.keep_rows();
        tgt_embed.fill(tgt, shape.tgt_vocab, shape.d_model, shape.int8 && tgt == head ? &output : nullptr);
        src_embed.fill(src, shape.src_vocab, shape.d_model, shape.int8 && src == head ? &output : nullptr);
        fill_positions(src_positions, tensors.take());
        fill_positions(tgt_positions, tensors.take());
        if (const float* given_angles = tensors.take()) {
            const size_t size = size_t(shape.max_len) * shape.d_head();
            std::copy_n(given_angles, size, angles.reserve(size));
        }
        fill(encoder, shape.encoder_layers, tensors, false);
        fill(decoder, shape.decoder_layers, tensors, true);
        if (shape.norm_first) {
            encoder_norm.fill(tensors, shape);
            decoder_norm.fill(tensors, shape);
        }
        if (!tensors.done()) throw std::runtime_error("too many tensors");
    }

    std::vector<Block> encoder, decoder;
    Norm encoder_norm, decoder_norm;
    Matrix output;

    void embed_source(int32_t token, int at, float* to) const { embed(src_embed, src_positions, token, at, to); }
    void embed_target(int32_t token, int at, float* to) const { embed(tgt_embed, tgt_positions, token, at, to); }
    const float* angles_at(int at) const { return shape.rotary ? angles + size_t(at) * shape.d_head() : nullptr; }

    // `x` as a product reads it, after the norm that stands before a sublayer, if it is there that it stands.
    const Rows& enter(const float* x, int m, const Norm& norm, Workspace& space) const {
        if (shape.norm_first) {
            float* h = space.normed.reserve(size_t(m) * stride);
            for (int row = 0; row < m; row++) norm.apply(x + size_t(row) * stride, h + size_t(row) * stride);
            x = h;
        }
        return read(x, m, shape.d_model, stride, space);
    }
    const Rows& read(const float* x, int m, int k, int x_stride, Workspace& space) const {
        if (shape.int8) space.rows.quantise(x, m, k, x_stride);
        else space.rows.refer(x, m, k, x_stride);
        return space.rows;
    }
    // After a sublayer: the norm that stands there, if it does.
    void leave(float* x, int m, const Norm& norm) const {
        if (shape.norm_first) return;
        for (int row = 0; row < m; row++) norm.apply(x + size_t(row) * stride, x + size_t(row) * stride);
    }
    // What was attended to goes through the output projection and is added to x.
    void add_attention(const Attention& attention, const float* context, float* x, int m, Workspace& space) const {
        add(attention.output, read(context, m, shape.d_model, stride, space), x, space);
    }
    void feed_forward(const Block& block, float* x, int m, Workspace& space) const {
        const FeedForward& ffn = block.ffn;
        const Rows& rows = enter(x, m, block.ffn_norm, space);
        const int wide = stride_of<float>(ffn.up.padded);
        float* inner = space.inner.reserve(size_t(m) * wide);
        const Activation kind = shape.activation;
        if (kind == Activation::swiglu) {
            float* gate = space.gate.reserve(size_t(m) * wide);
            write(ffn.gate, rows, gate, wide, space);
            product(ffn.up, rows, space.team, [=](int row, int column, const vf* y) {
                const size_t at = size_t(row) * wide + column;
                for (int v = 0; v < V; v++) store(inner + at + v * W, activated(Activation::silu, load(gate + at + v * W)) * y[v]);
            });
        } else {
            product(ffn.up, rows, space.team, [=](int row, int column, const vf* y) {
                for (int v = 0; v < V; v++) store(inner + size_t(row) * wide + column + v * W, activated(kind, y[v]));
            });
        }
        add(ffn.down, read(inner, m, shape.d_ff, wide, space), x, space);
        leave(x, m, block.ffn_norm);
    }
    // y = x w^T + bias, vectors of y `to_stride` apart.
    void write(const Matrix& w, const Rows& rows, float* to, int to_stride, Workspace& space) const {
        product(w, rows, space.team, [=](int row, int column, const vf* y) {
            for (int v = 0; v < V; v++) store(to + size_t(row) * to_stride + column + v * W, y[v]);
        });
    }

   private:
    Embedding src_embed, tgt_embed;
    Buffer<float> src_positions, tgt_positions, angles;

    void fill_positions(Buffer<float>& table, const float* given) {
        const size_t size = size_t(shape.max_len) * shape.d_model;
        if (given) std::copy_n(given, size, table.reserve(size));
    }
    void fill(std::vector<Block>& blocks, int count, Tensors& tensors, bool in_decoder) {
        blocks.resize(count);
        for (Block& block : blocks) block.fill(tensors, shape, in_decoder);
    }
    void embed(const Embedding& table, const Buffer<float>& positions, int32_t token, int at, float* to) const {
        const int d = shape.d_model;
        const float scale = std::sqrt(float(d)), *place = positions;
        table.look_up(token, to);
        for (int i = 0; i < d; i++) to[i] = to[i] * scale + (place ? place[size_t(at) * d + i] : 0.0f);
        std::fill(to + d, to + stride, 0.0f);
    }
    void add(const Matrix& w, const Rows& rows, float* x, Workspace& space) const {
        product(w, rows, space.team, [this, x](int row, int column, const vf* y) {
            float* to = x + size_t(row) * stride + column;
            for (int v = 0; v < V; v++) store(to + v * W, load(to + v * W) + y[v]);
        });
    }
};

}  // namespace sightline
