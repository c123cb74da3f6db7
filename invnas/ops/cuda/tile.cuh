// Sizes, which thread computes what, and kernel values on their way to and from shared memory.

struct Sizes {  // plan.FIELDS
    i64 batch, channels, groups, group_channels, in_height, in_width, out_height, out_width;
    i64 kernel_size, stride, dilation, padding;
    i64 slices, slice_groups, parts, group_lanes, tiles_x, tiles_y, tile_rows, word, pixel_pitch, strip_pitch, staged;
    i64 tap_step;
};

// What a kernel is told; the end is read by folded kernels alone.
struct Told : Sizes {
    Finish end;
};

// The pixels of one thread where K is compiled in: strips of neighbours, in two rows, so that what a row of the source
// brings is loaded and converted once for both. Variant.strip and Variant.strip_rows say the same.
constexpr int strip_pixels = 4, strip_rows = 2;
template <class T, int V>
using Strips = Sum<T>[strip_rows][strip_pixels][V];
template <int K, int S>
constexpr int products_strip = K > 7 || S > 1 ? 2 : 4;  // what 128 registers hold

// The tile of a block: from pixel (y, x) of an image on, a slice of the groups from `group` on.
struct Tile {
    int image, y, x, group, part;
};

INVNAS_DEVICE Tile tile_of(const Sizes& n, int width) {
    const unsigned slices = n.slices, across = n.tiles_x, down = n.tiles_y, parts = n.parts;
    const unsigned slice = blockIdx.x % slices, place = blockIdx.x / slices;
    Tile tile;
    tile.group = parts > 1 ? slice / parts : slice * static_cast<unsigned>(n.slice_groups);
    tile.part = parts > 1 ? slice % parts : 0;
    tile.x = place % across * width;
    tile.y = place / across % down * static_cast<unsigned>(n.tile_rows);
    tile.image = place / across / down;
    return tile;
}

// What a column of threads computes: which group of the slice, and from which channel on.
struct Lane {
    int group, channel;
    bool works;
};

template <int V>
INVNAS_DEVICE Lane lane_of(const Sizes& n, const Tile& tile) {
    const unsigned lanes = n.group_lanes;
    const unsigned first = (tile.part * lanes + threadIdx.x % lanes) * V;
    Lane lane;
    lane.group = threadIdx.x / lanes;
    lane.channel = (tile.group + lane.group) * static_cast<int>(n.group_channels) + first;
    lane.works = tile.group + lane.group < n.groups && first < n.group_channels;
    return lane;
}

INVNAS_DEVICE i64 pixel_of(int image, int height, int width, int y, int x) {
    return (static_cast<i64>(image) * height + y) * width + x;
}

INVNAS_DEVICE bool within(int at, i64 size) { return static_cast<unsigned>(at) < static_cast<unsigned>(size); }

// Where pixel i of a tile begins in shared memory. Strips lie apart so that threads of one warp meet other banks.
template <int P>
INVNAS_DEVICE int position(const Sizes& n, unsigned i) {
    return i / P * static_cast<int>(n.strip_pitch) + i % P * static_cast<int>(n.pixel_pitch);
}

// The kernel values of `rows` x `columns` pixels from (y, x) on, for the groups of a slice.
struct Region {
    int y, x, rows, columns;
};

// Move a region into shared memory or out of it: a warp takes a pixel, its threads neighbouring words. Pixels outside
// the map come as zeros, and do not go.
template <int bytes, bool in, int P, class T>
INVNAS_DEVICE void move_words(T* shared, T* kernels, const Sizes& n, const Tile& tile, const Region& region) {
    typedef Word<bytes> W;
    const int taps = n.kernel_size * n.kernel_size, left = n.groups - tile.group, most = n.slice_groups;
    const int words = (left < most ? left : most) * taps * static_cast<int>(sizeof(T)) / bytes;
    const int warps = (thread_count() + 31) / 32, warp = thread_number() / 32, lane = thread_number() % 32;
    const int lanes = thread_count() - warp * 32 < 32 ? thread_count() - warp * 32 : 32;
    const int pixel = n.groups * taps, width = n.out_width, height = n.out_height;
    // One multiplication for the first pixel of a warp, then additions: this loop runs once for each pixel of a tile.
    T* at = kernels + pixel_of(tile.image, height, width, region.y, region.x + warp) * pixel + tile.group * taps +
            lane * (bytes / static_cast<int>(sizeof(T)));
    const i64 next = static_cast<i64>(warps) * pixel, wrap = static_cast<i64>(width - region.columns) * pixel;
    int y = region.y, x = region.x + warp;
    for (unsigned i = warp;; i += warps) {
        for (; x >= region.x + region.columns; ++y, at += wrap) x -= region.columns;
        if (y >= region.y + region.rows) break;
        W* here = reinterpret_cast<W*>(shared + position<P>(n, i)) + lane;
        W* there = reinterpret_cast<W*>(at);
        const bool inside = within(y, height) && within(x, width);
        for (int j = lane; j < words; j += lanes, here += lanes, there += lanes) {
            if (!in) {
                if (inside) *there = *here;
            } else if (!inside) {
                *here = W{};
            } else {
                copy_async<bytes>(here, there);
            }
        }
        x += warps, at += next;
    }
}

template <bool in, int P, class T>
INVNAS_DEVICE void move(T* shared, T* kernels, const Sizes& n, const Tile& tile, const Region& region) {
    if (n.word == 16)
        move_words<16, in, P>(shared, kernels, n, tile, region);
    else if (n.word == 8)
        move_words<8, in, P>(shared, kernels, n, tile, region);
    else if (sizeof(T) <= 4 && n.word == 4)
        move_words<sizeof(T) <= 4 ? 4 : 8, in, P>(shared, kernels, n, tile, region);
    else if (sizeof(T) <= 2)
        move_words<sizeof(T) <= 2 ? 2 : 8, in, P>(shared, kernels, n, tile, region);
}
