// How maps that lie plane by plane are cut into tiles, and the padded copy of the source that a tile reads.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "../cpu/shapes.h"

namespace invnas {

// Maps (B, C, H, W), all dense. The weights are (B, G * K * K, H', W') over the destination or, where there is a span,
// made from a map (B, hidden, H', W') of fewer channels tile by tile: they are never in memory as a whole.
template <class T>
struct Planes {
    const T* source;
    const T* weights;    // or the hidden map
    const T* span;       // (G, hidden, K * K), or null
    const T* span_bias;  // (G * K * K)
    Finish<T> finish;    // with no scale there is none
    T* destination;
    i64 batch, channels, groups, hidden, source_height, source_width, height, width;
    Window window;

    // The room of a tile: rows of the zero-padded source, those columns side by side that are a stride apart, so that
    // what one tap meets along a row are neighbours in memory, whatever the stride.
    i64 room_channels = 0, rows = 0, phase = 0, pitch = 0, room_plane = 0;
    i64 chunk = 0;               // rows whose weights are made at once
    std::vector<i64> columns{};  // where in a row of the room each tap of a window row begins

    static constexpr i64 near = (1 << 16) / sizeof(T);  // what a first-level cache nearly holds

    i64 group_channels() const { return channels / groups; }
    i64 taps() const { return window.k * window.k; }
    i64 plane() const { return height * width; }
    i64 blocks() const { return (height + rows - 1) / rows; }
    i64 parts() const { return (group_channels() + room_channels - 1) / room_channels; }
    i64 tiles() const { return batch * groups * parts() * blocks(); }
    i64 room() const { return room_channels * room_plane; }
    i64 scratch() const { return room() + (span ? taps() * chunk * width : 0); }
    i64 room_rows(i64 outputs) const { return (outputs - 1) * window.stride + (window.k - 1) * window.dilation + 1; }

    void cut() {
        const i64 s = window.stride, d = window.dilation;
        phase = width + (window.k - 1) * d / s;
        pitch = phase * s;
        for (i64 v = 0; v < window.k; ++v) columns.push_back(v * d % s * phase + v * d / s);
        // Weights are made once for all channels of their group.
        room_channels = span ? group_channels() : std::min<i64>(group_channels(), 16);
        while (!span && room_channels > 4 && room_channels * room_rows(1) * pitch > near)
            room_channels = (room_channels + 1) / 2;
        rows = height;
        while (rows > 1 && room_channels * room_rows(rows) * pitch > near) --rows;
        rows = (height + blocks() - 1) / blocks();
        room_plane = room_rows(rows) * pitch;
        chunk = std::max<i64>(1, std::min(rows, 112 / width));
        chunk = (rows + (rows + chunk - 1) / chunk - 1) / ((rows + chunk - 1) / chunk);
    }
};

struct Tile {
    i64 image, group, channel, channels, first, last;  // channels and rows of the destination
};

template <class T>
Tile tile_at(const Planes<T>& m, i64 number) {
    const i64 block = number % m.blocks(), part = number / m.blocks() % m.parts();
    const i64 group = number / m.blocks() / m.parts() % m.groups, image = number / m.blocks() / m.parts() / m.groups;
    const i64 c = part * m.room_channels, first = block * m.rows;
    return {image, group, group * m.group_channels() + c, std::min(m.room_channels, m.group_channels() - c),
            first, std::min(first + m.rows, m.height)};
}

}  // namespace invnas
