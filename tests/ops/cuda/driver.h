// Runs the kernels that the including file lists in `invnas_table`: as a library by invnas_launch(), as a program that
// reads launches from a file and writes their results to another.
#include <cstdint>
#include <cstdio>
#include <string>

typedef void (*InvnasKernel)(const void*, const void*, void*, const Told);
struct InvnasEntry {
    const char* name;
    void (*kernel)();
};
extern const InvnasEntry invnas_table[];

// Return 0, or 1 when there is no such kernel. `numbers` are the fields of Told, grid.x, block, shared bytes.
extern "C" int invnas_launch(
    const char* name, const void* first, const void* second, void* result, const i64* numbers) {
    const InvnasEntry* entry = invnas_table;
    while (entry->name && std::strcmp(entry->name, name)) ++entry;
    if (!entry->name) return 1;
    Told told;
    std::memcpy(static_cast<void*>(&told), numbers, sizeof(told));
    numbers += sizeof(told) / sizeof(i64);
    blockDim = {unsigned(numbers[1]), unsigned(numbers[2]), unsigned(numbers[3])};
    for (i64 block = 0; block < numbers[0]; ++block) {
        blockIdx = {unsigned(block), 0, 0};
        invnas_shared = static_cast<unsigned char*>(std::malloc(numbers[4]));
        std::memset(invnas_shared, 0xff, numbers[4]);
        reinterpret_cast<InvnasKernel>(entry->kernel)(first, second, result, told);
        std::free(invnas_shared);
    }
    return 0;
}

#ifdef INVNAS_PROGRAM
// An array of exactly this size whose address is divisible by `alignment` and no more.
struct Buffer {
    std::vector<unsigned char> all;
    i64 front;
    Buffer(i64 bytes, i64 alignment) : all(bytes + alignment % 16, 0xff), front(alignment % 16) {}
    unsigned char* data() { return all.data() + front; }
    i64 size() const { return i64(all.size()) - front; }
};

static Buffer read_buffer(std::FILE* from, i64 bytes, i64 alignment) {
    Buffer buffer(bytes, alignment);
    if (i64(std::fread(buffer.data(), 1, bytes, from)) != bytes) std::abort();
    return buffer;
}

// A launch in the file: bytes of the name, of the three arrays, alignment, count of numbers, bytes of the scale; name;
// numbers; two arrays; scale and bias.
int main(int, char** names) {
    std::FILE *from = std::fopen(names[1], "rb"), *to = std::fopen(names[2], "wb");
    i64 head[7];
    while (std::fread(head, sizeof(head), 1, from)) {
        Buffer name = read_buffer(from, head[0], 16), numbers = read_buffer(from, head[5] * 8, 16);
        Buffer first = read_buffer(from, head[1], head[4]), second = read_buffer(from, head[2], head[4]);
        Buffer scale = read_buffer(from, head[6], head[4]), bias = read_buffer(from, head[6], head[4]);
        Buffer result(head[3], head[4]);
        const std::string called(reinterpret_cast<char*>(name.data()), head[0]);
        i64* told = reinterpret_cast<i64*>(numbers.data());
        told[sizeof(Sizes) / sizeof(i64)] = reinterpret_cast<i64>(scale.data());
        told[sizeof(Sizes) / sizeof(i64) + 1] = reinterpret_cast<i64>(bias.data());
        if (invnas_launch(called.c_str(), first.data(), second.data(), result.data(), told)) return 1;
        std::fwrite(result.data(), 1, result.size(), to);
    }
    std::fclose(from);
    return std::fclose(to);
}
#endif
