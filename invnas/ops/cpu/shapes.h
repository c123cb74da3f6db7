// What the kernels are told: sizes, and who meets whom under a window. No instruction set is chosen here.
#pragma once

#include <cstdint>
#include <vector>

namespace invnas {

using i64 = std::int64_t;

struct Window {
    i64 k, stride, dilation, padding;
};

// One tap of the window and the pixel of the source it falls on, along one side of the map.
struct Meeting {
    i64 tap, source;
};

// For every pixel of one side of the destination, the meetings inside the source, in the order of the taps.
struct Meetings {
    std::vector<i64> start;
    std::vector<Meeting> all;

    Meetings(const Window& w, i64 destination, i64 source, bool transposed) {
        start.reserve(destination + 1);
        all.reserve(destination * w.k);
        for (i64 at = 0; at < destination; ++at) {
            start.push_back(static_cast<i64>(all.size()));
            for (i64 tap = 0; tap < w.k; ++tap) {
                i64 met = transposed ? at + w.padding - tap * w.dilation : at * w.stride + tap * w.dilation - w.padding;
                if (transposed) {
                    if (met < 0 || met % w.stride != 0) continue;
                    met /= w.stride;
                }
                if (met >= 0 && met < source) all.push_back({tap, met});
            }
        }
        start.push_back(static_cast<i64>(all.size()));
    }
};

// What a row computes: involution, its transpose (the gradient of the input), or involution and what folding adds to it.
enum class Kind { forward, transposed, folded };

// What follows a folded involution, channel by channel: times scale, plus bias, kept between low and high.
template <class T>
struct Finish {
    const T* scale;
    const T* bias;
    T low, high;
};

// Forward: destination = output, source = input. Transposed (gradient of the input): destination = gradient of the
// input, source = gradient of the output. Maps are (B, H, W, C); weights are (B, H', W', G, K * K) over the output.
template <class T>
struct Gather {
    const T* source;
    const T* weights;
    T* destination;
    i64 source_height, source_width, height, width, channels, groups;
    Window window;
    Kind kind;
    Finish<T> finish;         // read where the kind is folded
    const Meetings* rows;     // null when the dense path runs alone
    const Meetings* columns;
    i64 weights_row = 0;      // row of the batch at which the weights begin

    bool transposed() const { return kind == Kind::transposed; }
    i64 group_channels() const { return channels / groups; }
    i64 taps() const { return window.k * window.k; }
};

// A linear layer of each pixel: (pixels, inputs) times (inputs, outputs), plus (outputs).
template <class T>
struct Linear {
    const T* weight;
    const T* bias;
    i64 inputs, outputs;
};

// A folded involution whose weights are made from a map (B, H', W', inputs) as they are used: span(relu(reduce(map))),
// or span(map) where reduce has no weight.
template <class T>
struct Spanned {
    Gather<T> gather;
    const T* map;
    Linear<T> reduce, span;
    i64 chunk = 1;  // rows whose weights are made at once

    static constexpr i64 pixels = 56;  // of a chunk, where rows are shorter
    i64 made() const { return chunk * gather.width * span.outputs; }
    i64 scratch() const { return made() + (reduce.weight ? chunk * gather.width * reduce.outputs : 0); }
};

// Gradient of the kernels: weights (B, H', W', G, K * K) from gradient (B, H', W', C) and input (B, H, W, C).
template <class T>
struct Correlate {
    const T* gradient;
    const T* input;
    T* weights;
    i64 in_height, in_width, height, width, channels, groups;
    Window window;

    // Rows of the input are kept channel by channel, zero-padded, columns of one dilation phase side by side, so that
    // the taps of one row of the window are neighbours in memory. A ring holds the rows one window can meet.
    i64 ring() const { return window.dilation * (window.k - 1) + 1; }
    i64 phase_width() const { return (in_width + 2 * window.padding + window.dilation - 1) / window.dilation; }
    i64 row_width() const { return phase_width() * window.dilation; }
    i64 place(i64 x) const { return x % window.dilation * phase_width() + x / window.dilation; }
    i64 scratch() const { return ring() * channels * row_width() + 64; }  // + one vector read past the end
};

}  // namespace invnas
