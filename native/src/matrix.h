// Products of rows of activations with matrices of weights that never change.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "simd.h"
#include "team.h"

namespace sightline {

// A distance between vectors of so many numbers at which they do not compete for the same places of the cache: an odd number of lines.
template <class T>
inline int stride_of(int n) {
    constexpr int line = 64 / sizeof(T);
    return ((n + line - 1) / line | 1) * line;
}

// KeyValueCache for `n` things of a type, at the width of a cache line; it only grows, and what it held is lost when it does.
template <class T>
class Buffer {
   public:
    Buffer() = default;
    explicit Buffer(size_t n) { reserve(n); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    Buffer(Buffer&& other) noexcept { *this = std::move(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(held, other.held);
        std::swap(size, other.size);
        return *this;
    }
    ~Buffer() { std::free(held); }
    T* reserve(size_t n) {
        if (n > size) {
            std::free(held);
            size = 0;
            held = static_cast<T*>(std::aligned_alloc(64, (n * sizeof(T) + 127) / 64 * 64));
            if (!held) throw std::bad_alloc();
            size = n;
        }
        return held;
    }
    operator T*() { return held; }
    operator const T*() const { return held; }

   private:
    T* held = nullptr;
    size_t size = 0;
};

// Activations [m, k] as a product wants them. In float32 they are used where they lie; as whole numbers each row has a scale of its own.
class Rows {
   public:
    int m = 0, k = 0;
    const float* floats = nullptr;
    int float_stride = 0;
    quantum* numbers = nullptr;
    int stride = 0;
    float* scale = nullptr;
    int32_t* offset = nullptr;  // what WEIGHT_ZERO adds to every product of the row

    void refer(const float* x, int rows, int inputs, int x_stride) {
        m = rows, k = inputs, floats = x, float_stride = x_stride;
    }
    void quantise(const float* x, int rows, int inputs, int x_stride) {
        m = rows, k = inputs, stride = stride_of<quantum>(inputs);
        numbers = own_numbers.reserve(size_t(m) * stride);
        scale = own_scale.reserve(m);
        offset = own_offset.reserve(m);
        const int limit = k <= INPUTS_AT_LIMIT ? LIMIT : std::min<int64_t>(LIMIT, int64_t(LIMIT) * INPUTS_AT_LIMIT / k);
        for (int row = 0; row < m; row++) one(x + size_t(row) * x_stride, row, limit);
    }

   private:
    Buffer<quantum> own_numbers;
    Buffer<float> own_scale;
    Buffer<int32_t> own_offset;

    void one(const float* x, int row, int limit) {
        const int whole = round_up(k, W);  // what stands behind a row is zero
        vf most = all(0);
        for (int i = 0; i < whole; i += W) {
            vf each = load(x + i);
            most = max(most, max(each, -each));
        }
        const float bound = largest(most);
        const vf by = all(bound > 0 ? limit / bound : 0.0f);
        quantum* to = numbers + size_t(row) * stride;
        for (int i = 0; i < whole; i += W) store_rounded(to + i, load(x + i) * by);
        scale[row] = bound / limit;
        offset[row] = 0;
        if (WEIGHT_ZERO) {
            int total = 0;
            for (int i = 0; i < whole; i++) total += to[i];
            offset[row] = WEIGHT_ZERO * total;
        }
    }
};

// Weights [n outputs, k inputs] and a bias. They lie in panels of P outputs; a panel holds, input after input (for whole numbers DEPTH
// inputs at a time), the weights of all its outputs, as the inner loop reads them.
class Matrix {
   public:
    int n = 0, k = 0, padded = 0;  // padded: outputs up to a whole panel; those beyond n come out as zero
    bool int8 = false;             // with a scale for each output; else float32
    Buffer<float> floats, scale, bias;
    Buffer<uint8_t> bytes;
    Buffer<uint8_t> by_row;  // the bytes once more, an output after another, where some are to be selected

    // The rows of several matrices with the same inputs, one after another; a bias may be missing.
    struct Part {
        const float *weight, *bias;
        int n;
    };
    void fill(const Part* parts, int count, int inputs, bool as_int8) {
        k = inputs, int8 = as_int8, n = 0;
        for (int i = 0; i < count; i++) n += parts[i].n;
        padded = round_up(n, P);
        bias.reserve(padded);
        std::fill_n((float*)bias, padded, 0.0f);
        const int steps = depth_steps();
        if (int8) {
            scale.reserve(padded);
            std::fill_n((float*)scale, padded, 0.0f);
            bytes.reserve(size_t(padded) * steps * DEPTH);
            std::fill_n((uint8_t*)bytes, size_t(padded) * steps * DEPTH, uint8_t(WEIGHT_ZERO));
        } else {
            floats.reserve(size_t(padded) * k);
            std::fill_n((float*)floats, size_t(padded) * k, 0.0f);
        }
        int out = 0;
        for (int i = 0; i < count; i++)
            for (int row = 0; row < parts[i].n; row++, out++) {
                if (parts[i].bias) bias[out] = parts[i].bias[row];
                put(out, parts[i].weight + size_t(row) * k);
            }
    }
    // Have outputs at hand for `select`: in panels a row lies in as many lines of the cache as it has inputs.
    void keep_rows() {
        if (!int8) return;
        uint8_t* to = by_row.reserve(size_t(n) * depth_steps() * DEPTH);
        for (int out = 0; out < n; out++)
            for (int i = 0; i < depth_steps() * DEPTH; i++) *to++ = bytes[byte_at(out, i)];
    }
    // Some outputs of another matrix, which has kept its rows, in the order given.
    void select(const Matrix& from, const int32_t* outputs, int count) {
        n = count, k = from.k, padded = round_up(n, P), int8 = from.int8;
        bias.reserve(padded);
        if (int8) scale.reserve(padded), bytes.reserve(size_t(padded) * depth_steps() * DEPTH);
        else floats.reserve(size_t(padded) * k);
        for (int out = 0; out < padded; out++) {
            const int same = outputs[std::min(out, n - 1)];  // what stands behind the last one is nobody's
            bias[out] = from.bias[same];
            if (int8) {
                scale[out] = from.scale[same];
                const uint8_t* get = from.by_row + size_t(same) * depth_steps() * DEPTH;
                uint8_t* put = bytes + byte_at(out, 0);
                for (int step = 0; step < depth_steps(); step++, get += DEPTH, put += P * DEPTH) std::memcpy(put, get, DEPTH);
            } else {
                for (int i = 0; i < k; i++) floats[float_at(out, i)] = from.floats[from.float_at(same, i)];
            }
        }
    }
    int panels() const { return padded / P; }
    int depth_steps() const { return (k + DEPTH - 1) / DEPTH; }
    // One row of weights, as the product sees it.
    void row(int out, float* to) const {
        for (int i = 0; i < k; i++) to[i] = int8 ? scale[out] * (int8_t)(bytes[byte_at(out, i)] - WEIGHT_ZERO) : floats[float_at(out, i)];
    }

   private:
    size_t float_at(int out, int i) const { return size_t(out / P) * P * k + size_t(i) * P + out % P; }
    size_t byte_at(int out, int i) const {
        return size_t(out / P) * P * depth_steps() * DEPTH + (size_t(i / DEPTH) * P + out % P) * DEPTH + i % DEPTH;
    }
    void put(int out, const float* w) {
        if (!int8) {
            for (int i = 0; i < k; i++) floats[float_at(out, i)] = w[i];
            return;
        }
        float most = 0;
        for (int i = 0; i < k; i++) most = std::max(most, std::fabs(w[i]));
        scale[out] = most / 127;
        for (int i = 0; i < k; i++) bytes[byte_at(out, i)] = uint8_t(int(most > 0 ? std::lrint(w[i] / scale[out]) : 0) + WEIGHT_ZERO);
    }
};

// Have memory that a product reads soon brought near: `bytes` of each step, 1 KiB ahead.
inline void fetch(const void* weight, int bytes) {
    for (int at = 0; at < bytes; at += 64) __builtin_prefetch(static_cast<const char*>(weight) + 1024 + at);
}

// y = x w^T + bias for `rows` rows from `row` on and one panel of outputs, handed to emit(row, first output, V vectors) row by row.
template <int rows, class Emit>
inline void product_of_panel(const Matrix& w, const Rows& x, int row, int panel, Emit&& emit) {
    const int column = panel * P;
    if (w.int8) {
        const int steps = w.depth_steps();
        const uint8_t* weight = w.bytes + size_t(panel) * P * steps * DEPTH;
        const quantum* from[rows];
        for (int r = 0; r < rows; r++) from[r] = x.numbers + size_t(row + r) * x.stride;
        vi total[rows][V];
        for (auto& each : total)
            for (vi& one : each) one = vi{};
        for (int step = 0; step < steps; step++) {
            vi each[V];
            for (int v = 0; v < V; v++) each[v] = load_weights(weight + v * W * DEPTH);
            fetch(weight, P * DEPTH);
            for (int r = 0; r < rows; r++)
                for (int v = 0; v < V; v++) total[r][v] = add_products(total[r][v], each[v], from[r] + step * DEPTH);
            weight += P * DEPTH;
        }
        // Kept in registers: what `emit` writes might be any of them, as far as the compiler knows.
        const float *scale = w.scale + column, *bias = w.bias + column, *row_scale = x.scale + row;
        const int32_t* offset = x.offset + row;
        for (int r = 0; r < rows; r++) {
            vf y[V];
            for (int v = 0; v < V; v++) {
                vf number = __builtin_convertvector(WEIGHT_ZERO ? total[r][v] - offset[r] : total[r][v], vf);
                y[v] = number * (load(scale + v * W) * row_scale[r]) + load(bias + v * W);
            }
            emit(row + r, column, y);
        }
    } else {
        const float* weight = w.floats + size_t(panel) * P * w.k;
        const float* from[rows];
        for (int r = 0; r < rows; r++) from[r] = x.floats + size_t(row + r) * x.float_stride;
        vf total[rows][V];
        for (auto& each : total)
            for (vf& one : each) one = vf{};
        for (int i = 0; i < w.k; i++) {
            vf each[V];
            for (int v = 0; v < V; v++) each[v] = load(weight + v * W);
            fetch(weight, P * sizeof(float));
            for (int r = 0; r < rows; r++)
                for (int v = 0; v < V; v++) total[r][v] += each[v] * from[r][i];
            weight += P;
        }
        const float* bias = w.bias + column;
        for (int r = 0; r < rows; r++) {
            vf y[V];
            for (int v = 0; v < V; v++) y[v] = total[r][v] + load(bias + v * W);
            emit(row + r, column, y);
        }
    }
}

// The same for up to R rows; a row comes out the same whichever others it is computed with.
template <class Emit>
inline void product_of_rows(const Matrix& w, const Rows& x, int row, int count, int panel, Emit&& emit) {
    switch (count) {
        case 1: return product_of_panel<1>(w, x, row, panel, emit);
        case 2: return product_of_panel<2>(w, x, row, panel, emit);
        case 3: return product_of_panel<3>(w, x, row, panel, emit);
        case 4: return product_of_panel<4>(w, x, row, panel, emit);
        case 5: return product_of_panel<5>(w, x, row, panel, emit);
        default: return product_of_panel<R>(w, x, row, panel, emit);
    }
}

// The same for all rows and the panels from `first` to before `last`. A block of rows that stays in the cache meets panel after panel.
template <class Emit>
inline void product_of_panels(const Matrix& w, const Rows& x, int first, int last, Emit&& emit) {
    const int bytes = x.k * int(w.int8 ? sizeof(quantum) : sizeof(float));
    const int block = std::max(R, (3 << 17) / bytes / R * R);
    for (int from = 0; from < x.m; from += block) {
        const int to = std::min(x.m, from + block);
        for (int panel = first; panel < last; panel++)
            for (int row = from; row < to; row += R) product_of_rows(w, x, row, std::min(R, to - row), panel, emit);
    }
}

constexpr int64_t WORTH_SHARING = 400'000;  // products of two numbers; fewer are done before others have begun

// The same for all panels.
template <class Emit>
inline void product(const Matrix& w, const Rows& x, Team& team, Emit&& emit) {
    if (team.size == 1 || int64_t(x.m) * w.n * w.k < WORTH_SHARING) return product_of_panels(w, x, 0, w.panels(), emit);
    team.run([&](int number) {
        const int all = w.panels();
        product_of_panels(w, x, all * number / team.size, all * (number + 1) / team.size, emit);
    });
}

}  // namespace sightline
