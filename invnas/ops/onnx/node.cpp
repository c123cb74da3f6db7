// Involution as a node of onnxruntime: a library for SessionOptions.register_custom_ops_library, without any header of
// onnxruntime and without torch. Maps lie plane by plane there, so the loops are others than those for torch.

#include <atomic>
#include <exception>
#include <limits>
#include <new>
#include <string>
#include <type_traits>

#include "../cpu/isa.h"
#include "interface.h"
#include "tiles.h"

#define INVNAS_ISA baseline
#define INVNAS_TARGET
#define INVNAS_BYTES 16
#include "planes.h"
#undef INVNAS_ISA
#undef INVNAS_TARGET
#undef INVNAS_BYTES

#if defined(__x86_64__)
#define INVNAS_ISA avx2
#define INVNAS_TARGET __attribute__((target("avx2,fma")))
#define INVNAS_BYTES 32
#include "planes.h"
#undef INVNAS_ISA
#undef INVNAS_TARGET
#undef INVNAS_BYTES

#define INVNAS_ISA avx512
#define INVNAS_TARGET __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")))
#define INVNAS_BYTES 64
#include "planes.h"
#endif

namespace invnas {
namespace {

Isa chosen = best_isa();  // tests narrow it

template <class T>
void compute(const Planes<T>& m, i64 number) {
    constexpr i64 held = Planes<T>::near * 3 / 2;
    alignas(64) T near[held];
    std::unique_ptr<T[]> far(m.scratch() > held ? new T[m.scratch()] : nullptr);
    T* room = far ? far.get() : near;
    const Tile t = tile_at(m, number);
#if defined(__x86_64__)
    if (chosen == avx512_isa) return avx512::tile(m, t, room);
    if (chosen == avx2_isa) return avx2::tile(m, t, room);
#endif
    baseline::tile(m, t, room);
}

const OrtApi* api = nullptr;  // set by RegisterCustomOps, before any node is made

using Shape = std::vector<i64>;

// A status of onnxruntime on its way up; whoever throws one gives it away.
struct Refused {
    OrtStatus* status;
};

void check(OrtStatus* status) {
    if (status) throw Refused{status};
}

[[noreturn]] void refuse(const std::string& why) {
    throw Refused{ort::CreateStatus(api)(ort::invalid_argument, ("invnas involution: " + why).c_str())};
}

// The status of what `body` does: null where all went well. No exception leaves the library.
template <class Body>
OrtStatus* guarded(const Body& body) noexcept {
    try {
        body();
        return nullptr;
    } catch (const Refused& refused) {
        return refused.status;
    } catch (const std::exception& error) {
        return ort::CreateStatus(api)(ort::fail, error.what());
    }
}

i64 whole(const OrtKernelInfo* info, const char* name) {
    i64 value = 0;
    check(ort::KernelInfoGetAttribute_int64(api)(info, name, &value));
    return value;
}

float bound(const OrtKernelInfo* info, const char* name, float otherwise) {
    float value = otherwise;
    OrtStatus* status = ort::KernelInfoGetAttribute_float(api)(info, name, &value);
    if (status == nullptr) return value;
    ort::ReleaseStatus(api)(status);
    return otherwise;
}

struct Tensor {
    void* data = nullptr;
    Shape shape;
};

void* data_of(const OrtValue* value) {
    void* data = nullptr;
    check(ort::GetTensorMutableData(api)(const_cast<OrtValue*>(value), &data));
    return data;
}

Tensor input(const OrtKernelContext* context, std::size_t index) {
    const OrtValue* value = nullptr;
    check(ort::KernelContext_GetInput(api)(context, index, &value));
    if (value == nullptr) return {};  // an optional one that is not there
    OrtTensorTypeAndShapeInfo* info = nullptr;
    check(ort::GetTensorTypeAndShape(api)(value, &info));
    std::size_t rank = 0;
    Tensor tensor;
    OrtStatus* status = ort::GetDimensionsCount(api)(info, &rank);
    if (status == nullptr) {
        tensor.shape.resize(rank);
        status = ort::GetDimensions(api)(info, tensor.shape.data(), rank);
    }
    ort::ReleaseTensorTypeAndShapeInfo(api)(info);
    check(status);
    tensor.data = data_of(value);
    return tensor;
}

std::string text(const Shape& shape) {
    std::string all;
    for (const i64 side : shape) all += (all.empty() ? "" : ", ") + std::to_string(side);
    return "(" + all + ")";
}

// The inputs of a node, in their order; all but the first two may be missing.
struct Inputs {
    Tensor map;
    Tensor kernels;    // (B, G * K * K, H', W'), or with a span the map (B, hidden, H', W') they are made from
    Tensor scale;      // (C)
    Tensor bias;       // (C)
    Tensor span;       // (G, hidden, K * K)
    Tensor span_bias;  // (G * K * K)

    explicit Inputs(const OrtKernelContext* context) {
        std::size_t count = 0;
        check(ort::KernelContext_GetInputCount(api)(context, &count));
        Tensor* const all[] = {&map, &kernels, &scale, &bias, &span, &span_bias};
        for (std::size_t index = 0; index < count && index < std::size(all); ++index) *all[index] = input(context, index);
    }
};

struct Node {
    Window window;
    i64 groups;
    float low, high;

    explicit Node(const OrtKernelInfo* info)
        : window{whole(info, "kernel_size"), whole(info, "stride"), whole(info, "dilation"), whole(info, "padding")},
          groups(whole(info, "groups")),
          low(bound(info, "low", -std::numeric_limits<float>::infinity())),
          high(bound(info, "high", std::numeric_limits<float>::infinity())) {
        if (window.k < 1 || window.stride < 1 || window.dilation < 1 || window.padding < 0 || groups < 1)
            refuse("kernel_size, stride, dilation and groups must be at least 1, and padding at least 0");
    }

    i64 out(i64 side) const {
        const i64 left = side + 2 * window.padding - window.dilation * (window.k - 1) - 1;
        return left < 0 ? 0 : left / window.stride + 1;
    }

    // The loops trust their sizes.
    void check_shapes(const Inputs& in) const {
        const Shape &x = in.map.shape, &w = in.kernels.shape;
        const i64 kernels = groups * window.k * window.k;
        if (x.size() != 4 || w.size() != 4 || w[0] != x[0] || x[1] % groups != 0 || w[2] != out(x[2]) ||
            w[3] != out(x[3]) || (in.span.shape.empty() && w[1] != kernels))
            refuse("a map of " + text(x) + " and kernels of " + text(w) + " do not fit " + std::to_string(groups) +
                   " groups and a window of " + std::to_string(window.k));
        expect("scale", in.scale, {x[1]});
        expect("bias", in.bias, in.scale.shape);
        expect("span", in.span, {groups, w[1], window.k * window.k});
        expect("span_bias", in.span_bias, in.span.shape.empty() ? Shape() : Shape{kernels});
    }

    static void expect(const char* name, const Tensor& tensor, const Shape& shape) {
        const bool optional = std::string(name) == "scale" || std::string(name) == "span";
        if (tensor.shape != shape && !(optional && tensor.shape.empty()))
            refuse(std::string(name) + " must have the shape " + text(shape) + ", but has " + text(tensor.shape));
    }

    template <class T>
    void run(OrtKernelContext* context) const {
        const Inputs in(context);
        check_shapes(in);
        const Shape &x = in.map.shape, &w = in.kernels.shape, shape{x[0], x[1], w[2], w[3]};
        OrtValue* output = nullptr;
        check(ort::KernelContext_GetOutput(api)(context, 0, shape.data(), shape.size(), &output));
        auto at = [](const Tensor& tensor) { return static_cast<const T*>(tensor.data); };
        Planes<T> m{at(in.map), at(in.kernels), at(in.span), at(in.span_bias),
                    {at(in.scale), at(in.bias), T(low), T(high)}, static_cast<T*>(data_of(output)),
                    x[0], x[1], groups, w[1], x[2], x[3], w[2], w[3], window};
        if (shape[0] * shape[1] * shape[2] * shape[3] == 0) return;
        m.cut();
        share(context, m);
    }

    // Let the runtime's threads take the tiles.
    template <class T>
    static void share(const OrtKernelContext* context, const Planes<T>& m) {
        struct Work {
            const Planes<T>& planes;
            std::atomic<bool> short_of_memory{false};
        } work{m};
        auto one = [](void* data, std::size_t number) {
            Work& work = *static_cast<Work*>(data);
            try {
                compute(work.planes, static_cast<i64>(number));
            } catch (const std::bad_alloc&) {
                work.short_of_memory = true;
            }
        };
        check(ort::KernelContext_ParallelFor(api)(context, one, static_cast<std::size_t>(m.tiles()), 0, &work));
        if (work.short_of_memory) refuse("there was no memory for a tile");
    }
};

// Bodies of a node stand under names of their own in a file: Involution1, Involution2 and so on.
constexpr int names = 64;

template <class T>
struct Operator : OrtCustomOp {
    std::string name;

    explicit Operator(int number) : OrtCustomOp{}, name("Involution" + std::to_string(number)) {
        constexpr int type = sizeof(T) == 4 ? ort::float32 : ort::float64;
        version = ort::version;
        GetName = [](const OrtCustomOp* self) { return static_cast<const Operator*>(self)->name.c_str(); };
        GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };  // the CPU's
        GetInputType = [](const OrtCustomOp*, std::size_t) { return type; };
        GetInputTypeCount = [](const OrtCustomOp*) -> std::size_t { return 6; };
        GetOutputType = [](const OrtCustomOp*, std::size_t) { return type; };
        GetOutputTypeCount = [](const OrtCustomOp*) -> std::size_t { return 1; };
        GetInputCharacteristic = [](const OrtCustomOp*, std::size_t index) -> int {
            return index < 2 ? ort::required : ort::optional;
        };
        GetOutputCharacteristic = [](const OrtCustomOp*, std::size_t) -> int { return ort::required; };
        GetInputMemoryType = [](const OrtCustomOp*, std::size_t) { return 0; };  // OrtMemTypeDefault
        GetVariadicInputMinArity = GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 1; };
        GetVariadicInputHomogeneity = GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
        CreateKernelV2 = [](const OrtCustomOp*, const OrtApi*, const OrtKernelInfo* info, void** kernel) {
            return guarded([&] { *kernel = new Node(info); });
        };
        KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
            return guarded([&] { static_cast<const Node*>(kernel)->run<T>(context); });
        };
        KernelDestroy = [](void* kernel) { delete static_cast<Node*>(kernel); };
        GetStartVersion = GetEndVersion = [](const OrtCustomOp*) { return 1; };
    }
};

}  // namespace
}  // namespace invnas

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(
    OrtSessionOptions* options, const OrtApiBase* base) {
    using namespace invnas;
    api = base->GetApi(ort::version);
    if (api == nullptr) {
        // Only the places of version 1 are known to be there.
        const std::string why = std::string("the kernels of invnas need onnxruntime 1.17 or newer, but this is ") +
                                base->GetVersionString();
        return ort::CreateStatus(base->GetApi(1))(ort::fail, why.c_str());
    }
    return guarded([&] {
        static OrtCustomOpDomain* const domain = [] {
            OrtCustomOpDomain* made = nullptr;
            check(ort::CreateCustomOpDomain(api)("invnas", &made));
            for (int number = 1; number <= names; ++number) {  // the runtime keeps their addresses
                check(ort::CustomOpDomain_Add(api)(made, new Operator<float>(number)));
                check(ort::CustomOpDomain_Add(api)(made, new Operator<double>(number)));
            }
            return made;
        }();
        check(ort::AddCustomOpDomain(api)(options, domain));
    });
}
