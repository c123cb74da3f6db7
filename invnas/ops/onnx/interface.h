// The part of onnxruntime's C interface that the node uses: its headers come with no wheel.
//
// Both structures are tables that only ever grow at their end, so an entry keeps its place for good. An OrtApi is read
// as an array of pointers; the number of an entry is its place in `struct OrtApi` of onnxruntime_c_api.h, which fixes
// the last place of each version by static_assert: 101 for version 1, 275 for version 17.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct OrtStatus;
struct OrtValue;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtTensorTypeAndShapeInfo;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtShapeInferContext;
struct OrtApi;

struct OrtApiBase {
    const OrtApi* (*GetApi)(std::uint32_t version);  // null where the runtime is older than the version
    const char* (*GetVersionString)();
};

// Of version 17, whose last entry is GetEndVersion: the runtime reads no further than what `version` promises.
struct OrtCustomOp {
    std::uint32_t version;
    void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
    const char* (*GetName)(const OrtCustomOp*);
    const char* (*GetExecutionProviderType)(const OrtCustomOp*);
    int (*GetInputType)(const OrtCustomOp*, std::size_t index);
    std::size_t (*GetInputTypeCount)(const OrtCustomOp*);
    int (*GetOutputType)(const OrtCustomOp*, std::size_t index);
    std::size_t (*GetOutputTypeCount)(const OrtCustomOp*);
    void (*KernelCompute)(void* kernel, OrtKernelContext*);
    void (*KernelDestroy)(void* kernel);
    int (*GetInputCharacteristic)(const OrtCustomOp*, std::size_t index);
    int (*GetOutputCharacteristic)(const OrtCustomOp*, std::size_t index);
    int (*GetInputMemoryType)(const OrtCustomOp*, std::size_t index);                  // 13
    int (*GetVariadicInputMinArity)(const OrtCustomOp*);                               // 14
    int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);                            // 14
    int (*GetVariadicOutputMinArity)(const OrtCustomOp*);                              // 14
    int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);                           // 14
    OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void** kernel);  // 16
    OrtStatus* (*KernelComputeV2)(void* kernel, OrtKernelContext*);                    // 16
    OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, OrtShapeInferContext*);       // 17
    int (*GetStartVersion)(const OrtCustomOp*);                                        // 17
    int (*GetEndVersion)(const OrtCustomOp*);                                          // 17
};

}  // extern "C"

namespace invnas::ort {

constexpr std::uint32_t version = 17;  // the first with KernelContext_ParallelFor: onnxruntime 1.17

enum ErrorCode { fail = 1, invalid_argument = 2 };
enum ElementType { float32 = 1, float64 = 11 };
enum Characteristic { required = 0, optional = 1 };

// An entry of OrtApi: its place in the table and its type.
template <int place, class Function>
struct Entry {
    Function operator()(const OrtApi* api) const {
        return reinterpret_cast<Function>(reinterpret_cast<void* const*>(api)[place]);
    }
};

constexpr Entry<0, OrtStatus* (*)(int code, const char* message)> CreateStatus;
constexpr Entry<26, OrtStatus* (*)(const char* domain, OrtCustomOpDomain**)> CreateCustomOpDomain;
constexpr Entry<27, OrtStatus* (*)(OrtCustomOpDomain*, const OrtCustomOp*)> CustomOpDomain_Add;
constexpr Entry<28, OrtStatus* (*)(OrtSessionOptions*, OrtCustomOpDomain*)> AddCustomOpDomain;
constexpr Entry<51, OrtStatus* (*)(OrtValue*, void**)> GetTensorMutableData;
constexpr Entry<61, OrtStatus* (*)(const OrtTensorTypeAndShapeInfo*, std::size_t*)> GetDimensionsCount;
constexpr Entry<62, OrtStatus* (*)(const OrtTensorTypeAndShapeInfo*, std::int64_t*, std::size_t)> GetDimensions;
constexpr Entry<65, OrtStatus* (*)(const OrtValue*, OrtTensorTypeAndShapeInfo**)> GetTensorTypeAndShape;
constexpr Entry<85, OrtStatus* (*)(const OrtKernelInfo*, const char*, float*)> KernelInfoGetAttribute_float;
constexpr Entry<86, OrtStatus* (*)(const OrtKernelInfo*, const char*, std::int64_t*)> KernelInfoGetAttribute_int64;
constexpr Entry<88, OrtStatus* (*)(const OrtKernelContext*, std::size_t*)> KernelContext_GetInputCount;
constexpr Entry<90, OrtStatus* (*)(const OrtKernelContext*, std::size_t, const OrtValue**)> KernelContext_GetInput;
constexpr Entry<91, OrtStatus* (*)(OrtKernelContext*, std::size_t, const std::int64_t*, std::size_t, OrtValue**)>
    KernelContext_GetOutput;
constexpr Entry<93, void (*)(OrtStatus*)> ReleaseStatus;
constexpr Entry<99, void (*)(OrtTensorTypeAndShapeInfo*)> ReleaseTensorTypeAndShapeInfo;
constexpr Entry<274, OrtStatus* (*)(const OrtKernelContext*, void (*)(void*, std::size_t), std::size_t total,
                                    std::size_t batches, void*)>
    KernelContext_ParallelFor;  // 17

}  // namespace invnas::ort
