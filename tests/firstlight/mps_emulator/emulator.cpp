// Emulate torch's "mps" device in host memory on a machine without one, with the same restrictions as on a Mac.
//
// This library is loaded before torch and implements torch's MPS hooks. Operators with an MPS kernel in torch's own list
// run on the CPU, on the same memory. All other operators raise the same error as on a Mac. The numerics of Metal, its
// speed and the memory of its graphs are not emulated. The error messages are copied from torch 2.15 for macOS.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/InferSize.h>
#include <ATen/TensorUtils.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/MPSHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>

namespace {

using at::IValue;
using at::Tensor;
using torch::jit::Stack;

const c10::Device kDevice(c10::DeviceType::MPS, 0);

// The operators with an MPS kernel, from native_functions.yaml, such as "linear" or "add.Tensor".
const std::vector<const char*> kNames = {
#include "mps_operators.inc"
};

// ---------------------------------------------------------------- memory

double read_env(const char* name, double otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atof(text) : otherwise;
}

struct Memory {
  std::mutex lock;
  size_t live = 0, peak = 0;
  // The recommended maximum; on a Mac with 96 GB, it is about 72 GiB.
  size_t recommended = static_cast<size_t>(read_env("MPS_EMULATOR_GIB", 72) * (1ULL << 30));
  // The memory of other programs.
  size_t other = static_cast<size_t>(read_env("MPS_EMULATOR_OTHER_GIB", 0) * (1ULL << 30));
  double ratio = read_env("PYTORCH_MPS_HIGH_WATERMARK_RATIO", 1.7);

  void take(size_t bytes) {
    std::lock_guard<std::mutex> guard(lock);
    const double most = ratio * static_cast<double>(recommended);
    TORCH_CHECK(
        ratio == 0 || static_cast<double>(live + other + bytes) <= most, "MPS backend out of memory (MPS allocated: ", text(live),
        ", other allocations: ", text(other), ", max allowed: ", text(most), "). Tried to allocate ", text(bytes),
        " on private pool. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit for memory allocations "
        "(may cause system failure).");
    live += bytes;
    peak = std::max(peak, live);
  }

  void give(size_t bytes) {
    std::lock_guard<std::mutex> guard(lock);
    live -= bytes;
  }

  static std::string text(double bytes) {
    char buffer[32];
    if (bytes >= 1ULL << 30) {
      std::snprintf(buffer, sizeof buffer, "%.2f GiB", bytes / (1ULL << 30));
    } else if (bytes >= 1ULL << 20) {
      std::snprintf(buffer, sizeof buffer, "%.2f MiB", bytes / (1ULL << 20));
    } else {
      std::snprintf(buffer, sizeof buffer, "%.0f bytes", bytes);
    }
    return buffer;
  }
};

Memory& memory() {
  static auto* one = new Memory;  // outlives every tensor
  return *one;
}

// The memory of an MPS storage: either its own, or the memory of a CPU tensor that an operator returned.
struct Block {
  size_t bytes;
  c10::Storage storage;
};

void release(void* context) {
  auto* block = static_cast<Block*>(context);
  memory().give(block->bytes);
  delete block;
}

c10::DataPtr make_data_ptr(const c10::Storage& storage) {
  memory().take(storage.nbytes());
  return {const_cast<void*>(storage.data()), new Block{storage.nbytes(), storage}, &release, kDevice};
}

struct Allocator final : c10::DeviceAllocator {
  c10::DataPtr allocate(size_t bytes) override {
    return make_data_ptr(c10::Storage(c10::Storage::use_byte_size_t(), bytes, c10::GetCPUAllocator(), false));
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t = {0, 0}) override {}
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex) override { return {}; }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex) override {}
};

Allocator* allocator() {
  static auto* one = new Allocator;
  return one;
}

void check_not_float64(at::ScalarType dtype) {
  TORCH_CHECK_TYPE(
      dtype != at::kDouble && dtype != at::kComplexDouble,
      "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. "
      "Please use float32 instead.");
}

Tensor make_tensor_like(c10::Storage storage, const Tensor& like) {
  auto made = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), c10::DispatchKeySet(c10::DispatchKey::MPS), like.dtype());
  made.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  return made;
}

// ---------------------------------------------------------------- random numbers: a separate generator, as on a Mac

struct Generator final : c10::GeneratorImpl {
  c10::intrusive_ptr<at::CPUGeneratorImpl> inner = c10::make_intrusive<at::CPUGeneratorImpl>();

  Generator() : GeneratorImpl(kDevice, c10::DispatchKeySet(c10::DispatchKey::MPS)) {}
  void set_current_seed(uint64_t seed) override { inner->set_current_seed(seed); }
  void set_offset(uint64_t) override {}
  uint64_t get_offset() const override { return 0; }
  uint64_t current_seed() const override { return inner->current_seed(); }
  uint64_t seed() override { return inner->seed(); }
  void set_state(const c10::TensorImpl& state) override { inner->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return inner->get_state(); }

 private:
  Generator* clone_impl() const override {
    auto* copy = new Generator;
    copy->inner->set_state(*inner->get_state());
    return copy;
  }
};

const at::Generator& default_generator() {
  static auto* one = new at::Generator(at::make_generator<Generator>());
  return *one;
}

at::Generator inner(const at::Generator& generator) {
  return at::Generator(dynamic_cast<Generator*>(generator.unsafeGetGeneratorImpl())->inner);
}

// Operators such as native_dropout take no generator. While they run, the CPU generator has the state of the MPS generator.
struct BorrowedState {
  c10::intrusive_ptr<c10::TensorImpl> before = at::detail::getDefaultCPUGenerator().unsafeGetGeneratorImpl()->get_state();

  BorrowedState() { host().set_state(*mac().get_state()); }
  ~BorrowedState() {
    mac().set_state(*host().get_state());
    host().set_state(*before);
  }
  static c10::GeneratorImpl& host() { return *at::detail::getDefaultCPUGenerator().unsafeGetGeneratorImpl(); }
  static c10::GeneratorImpl& mac() { return *default_generator().unsafeGetGeneratorImpl(); }
};

// ---------------------------------------------------------------- rules

std::map<std::string, size_t>& counts() {
  static auto* one = new std::map<std::string, size_t>;
  return *one;
}

std::mutex& count_mutex() {
  static auto* one = new std::mutex;
  return *one;
}

void count(const std::string& name) {
  std::lock_guard<std::mutex> guard(count_mutex());
  ++counts()[name];
}

// The check of MPS for adaptive pooling: input sizes must divide output sizes, or the reverse, in both dimensions.
void check_adaptive_pool(at::IntArrayRef in, at::IntArrayRef out) {
  const auto rows = in[in.size() - 2], columns = in[in.size() - 1];
  const bool shrinks = rows >= out[0] && columns >= out[1], grows = rows <= out[0] && columns <= out[1];
  const std::string tail =
      " Non-divisible input sizes are not implemented on MPS device yet. For now, you can manually transfer tensor to "
      "cpu in this case. Please refer to [this issue](https://github.com/pytorch/pytorch/issues/96056)";
  TORCH_CHECK(
      shrinks || grows,
      "Adaptive pool MPS: Input height and width must both be greater than, or equal to, or lesser than output height "
      "and width");
  TORCH_CHECK(
      !shrinks || (rows % out[0] == 0 && columns % out[1] == 0),
      "Adaptive pool MPS: input sizes must be divisible by output sizes.", tail);
  TORCH_CHECK(
      shrinks || (out[0] % rows == 0 && out[1] % columns == 0),
      "Adaptive pool MPS: output sizes must be divisible by input sizes.", tail);
}

// The operators that the documentation of torch.use_deterministic_algorithms lists for MPS.
bool is_nondeterministic(const std::string& name, const c10::OperatorHandle& op, const Stack& stack) {
  static const std::set<std::string> always = {
      "max_pool2d_backward", "max_pool2d_with_indices_backward", "max_pool3d_with_indices_backward",
      "avg_pool3d_backward", "embedding_dense_backward", "_embedding_bag_dense_backward", "kthvalue",
      "_embedding_bag_backward", "scatter_reduce", "scatter_reduce_", "grid_sampler_2d_backward", "grid_sampler_3d_backward",
      "upsample_bilinear2d_backward", "upsample_bicubic2d_backward", "upsample_linear1d_backward",
      "upsample_trilinear3d_backward"};
  if (always.count(name)) {
    return true;
  }
  const size_t first = stack.size() - op.schema().arguments().size();
  const auto inexact = [&] { return at::isFloatingType(stack[first].toTensor().scalar_type()) ||
                                    at::isComplexType(stack[first].toTensor().scalar_type()); };
  if (name == "index_put_" || name == "index_put" || name == "_index_put_impl_") {
    return stack[first + 3].toBool() && inexact();
  }
  if (name == "index_reduce" || name == "index_reduce_") {
    return (stack[first + 4].toStringRef() == "prod" || stack[first + 4].toStringRef() == "mean") && inexact();
  }
  return false;
}

// The operators that accept tensors of both devices on a Mac: copies and indexing. 0-dim tensors are always accepted.
bool accepts_mixed_devices(const std::string& name) {
  static const std::set<std::string> may = {"index", "index_put", "index_put_", "_index_put_impl_", "copy_", "set_"};
  return may.count(name) || name.rfind("_fused_", 0) == 0;
}

// The CPU needs minutes for these operators in half precision. They run in float32 instead, and the result is rounded.
bool needs_float32(const std::string& name, const Stack& stack, size_t first) {
  static const std::set<std::string> heavy = {
      "linear", "linear_backward", "mm", "bmm", "addmm", "_mps_convolution", "mps_convolution_backward",
      "_mps_convolution_transpose", "mps_convolution_transpose_backward"};
  return heavy.count(name) && stack[first].toTensor().scalar_type() == at::kHalf;
}

// ---------------------------------------------------------------- run an operator on the CPU, on the same memory

template <typename Change>
c10::List<Tensor> map_tensors(const std::vector<Tensor>& tensors, Change change) {
  c10::List<Tensor> list;
  for (const Tensor& tensor : tensors) {
    list.push_back(change(tensor));
  }
  return list;
}

struct Host {
  std::unordered_map<const void*, Tensor> mps_tensors;  // by the address of their memory
  std::vector<std::pair<Tensor, Tensor>> pairs;
  bool mixing;
  bool wide = false;

  Tensor in(const Tensor& tensor) {
    if (!tensor.defined() || !tensor.is_mps()) {
      TORCH_CHECK(
          mixing || !tensor.defined() || tensor.dim() == 0,
          "Expected all tensors to be on the same device, but found at least two devices, mps:0 and cpu!");
      return tensor;
    }
    auto* data = const_cast<void*>(tensor.storage().data());
    mps_tensors.emplace(data, tensor);
    c10::Storage storage(
        c10::Storage::use_byte_size_t(), tensor.storage().nbytes(), c10::DataPtr(data, c10::Device(c10::kCPU)),
        c10::GetCPUAllocator(), true);
    auto made = at::detail::make_tensor<c10::TensorImpl>(
        std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), tensor.dtype());
    auto* impl = made.unsafeGetTensorImpl();
    impl->set_sizes_and_strides(tensor.sizes(), tensor.strides(), tensor.storage_offset());
    if (tensor.dim() == 0) {
      impl->set_wrapped_number(tensor.unsafeGetTensorImpl()->is_wrapped_number());
    }
    pairs.emplace_back(made, tensor);
    return wide && made.scalar_type() == at::kHalf ? made.to(at::kFloat) : made;
  }

  IValue in(const IValue& value) {
    if (value.isTensor()) {
      return in(value.toTensor());
    }
    if (value.isTensorList()) {
      return map_tensors(value.toTensorVector(), [this](const Tensor& tensor) { return in(tensor); });
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> list;
      for (const auto& tensor : value.toOptionalTensorVector()) {
        list.push_back(tensor ? std::optional<Tensor>(in(*tensor)) : std::nullopt);
      }
      return list;
    }
    if (value.isDevice() && value.toDevice().is_mps()) {
      return c10::Device(c10::kCPU);
    }
    if (value.isGenerator() && value.toGenerator().device().is_mps()) {
      return inner(value.toGenerator());
    }
    return value;
  }

  Tensor round_to_half(const Tensor& tensor) {
    wide = false;
    auto made = out(tensor.to(at::kHalf));
    wide = true;
    return made;
  }

  Tensor out(const Tensor& tensor) {
    if (!tensor.defined()) {
      return tensor;
    }
    for (auto& [host, mps] : pairs) {
      if (host.unsafeGetTensorImpl() == tensor.unsafeGetTensorImpl()) {
        return mps;
      }
    }
    if (wide && tensor.scalar_type() == at::kFloat) {
      return round_to_half(tensor);
    }
    check_not_float64(tensor.scalar_type());
    const auto known = mps_tensors.find(tensor.storage().data());
    if (known != mps_tensors.end() && tensor.storage().nbytes() > 0) {
      return make_tensor_like(known->second.storage(), tensor);
    }
    c10::Storage storage(
        c10::Storage::use_byte_size_t(), tensor.storage().nbytes(), make_data_ptr(tensor.storage()), allocator(), true);
    return make_tensor_like(std::move(storage), tensor);
  }

  IValue out(const IValue& value) {
    if (value.isTensor()) {
      return out(value.toTensor());
    }
    if (value.isTensorList()) {
      return map_tensors(value.toTensorVector(), [this](const Tensor& tensor) { return out(tensor); });
    }
    return value;
  }

  // Give tensors that the operator resized in place their new memory and shape.
  void apply_resizes() {
    for (auto& [host, mps] : pairs) {
      if (host.storage().data() != mps.storage().data()) {
        mps.storage().unsafeGetStorageImpl()->set_data_ptr_noswap(make_data_ptr(host.storage()));
        mps.storage().set_nbytes(host.storage().nbytes());
      }
      if (host.sizes() != mps.sizes() || host.strides() != mps.strides()) {
        mps.unsafeGetTensorImpl()->set_sizes_and_strides(host.sizes(), host.strides(), host.storage_offset());
      }
    }
  }
};

// The operators that exist only for MPS, implemented with CPU operators.
using Outputs = std::vector<Tensor>;
using Arguments = c10::ArrayRef<IValue>;

std::optional<Tensor> optional(const IValue& value) {
  return value.isNone() ? std::nullopt : std::optional<Tensor>(value.toTensor());
}

Outputs linear_backward(Arguments a) {
  const auto input = a[0].toTensor(), grad = a[1].toTensor(), weight = a[2].toTensor();
  const auto rows = grad.reshape({-1, grad.size(-1)});
  return {at::matmul(grad, weight), rows.t().matmul(input.reshape({-1, input.size(-1)})), rows.sum(0)};
}

Outputs max_pool2d_backward(Arguments a) {
  const auto grad = a[0].toTensor(), input = a[1].toTensor();
  const auto kernel = a[2].toIntVector(), stride = a[3].toIntVector(), padding = a[4].toIntVector(),
             dilation = a[5].toIntVector();
  const auto indices = std::get<1>(
      at::max_pool2d_with_indices(input, kernel, stride, padding, dilation, a[6].toBool()));
  return {at::max_pool2d_with_indices_backward(
      grad, input, kernel, stride, padding, dilation, a[6].toBool(), indices)};
}

Outputs convolution(Arguments a) {
  return {at::convolution(
      a[0].toTensor(), a[1].toTensor(), optional(a[2]), a[4].toIntVector(), a[3].toIntVector(), a[5].toIntVector(),
      false, {0, 0}, a[6].toInt())};
}

Outputs convolution_backward(Arguments a) {
  const auto weight = a[2].toTensor();
  const auto mask = a[7].toBoolList();
  const auto [input, weights, bias] = at::convolution_backward(
      a[1].toTensor(), a[0].toTensor(), weight, {{weight.size(0)}}, a[4].toIntVector(), a[3].toIntVector(),
      a[5].toIntVector(), false, {0, 0}, a[6].toInt(), {mask[0], mask[1], mask[2]});
  return {input, weights, bias};
}

Outputs convolution_transpose(Arguments a) {
  return {at::convolution(
      a[0].toTensor(), a[1].toTensor(), std::nullopt, a[4].toIntVector(), a[2].toIntVector(), a[5].toIntVector(), true,
      a[3].toIntVector(), a[6].toInt())};
}

Outputs convolution_transpose_backward(Arguments a) {
  const auto mask = a[8].toBoolList();
  const auto [input, weights, bias] = at::convolution_backward(
      a[1].toTensor(), a[0].toTensor(), a[2].toTensor(), std::nullopt, a[5].toIntVector(), a[3].toIntVector(),
      a[6].toIntVector(), true, a[4].toIntVector(), a[7].toInt(), {mask[0], mask[1], false});
  return {input, weights};
}

Outputs attention_math(Arguments a) {
  const auto scale = a[7].isNone() ? std::nullopt : std::optional<double>(a[7].toDouble());
  const auto [output, weights] = at::_scaled_dot_product_attention_math(
      a[0].toTensor(), a[1].toTensor(), a[2].toTensor(), optional(a[3]), a[4].toDouble(), a[5].toBool(), optional(a[6]),
      scale, a[8].toBool());
  return {output, weights};
}

const std::map<std::string, Outputs (*)(Arguments)> kMPSOnlyOperators = {
    {"linear_backward", linear_backward},
    {"max_pool2d_backward", max_pool2d_backward},
    {"_mps_convolution", convolution},
    {"mps_convolution_backward", convolution_backward},
    {"_mps_convolution_transpose", convolution_transpose},
    {"mps_convolution_transpose_backward", convolution_transpose_backward},
    {"_scaled_dot_product_attention_math_for_mps", attention_math},
};

void run(const c10::OperatorHandle& op, Stack* stack) {
  const auto& schema = op.schema();
  const std::string name = schema.name().substr(6);  // without "aten::"
  count(name);
  if (is_nondeterministic(name, op, *stack)) {
    at::globalContext().alertNotDeterministic(name + "_mps");
  }
  const size_t number = schema.arguments().size(), first = stack->size() - number;
  if (name == "_adaptive_avg_pool2d" || name == "adaptive_avg_pool2d" || name == "adaptive_max_pool2d") {
    check_adaptive_pool((*stack)[first].toTensor().sizes(), (*stack)[first + 1].toIntVector());
  }

  Host host{{}, {}, accepts_mixed_devices(name), needs_float32(name, *stack, first)};
  bool takes_generator = false;
  for (size_t i = 0; i < number; ++i) {
    auto& value = (*stack)[first + i];
    const bool generator = schema.arguments()[i].name() == "generator";
    takes_generator |= generator;
    value = generator && value.isNone() ? IValue(inner(default_generator())) : host.in(value);
  }
  {
    c10::impl::ExcludeDispatchKeyGuard below_autograd(c10::autograd_dispatch_keyset_with_ADInplaceOrView);
    std::optional<BorrowedState> borrowed;
    if (!takes_generator && op.hasTag(at::Tag::nondeterministic_seeded)) {
      borrowed.emplace();
    }
    const auto replacement = kMPSOnlyOperators.find(name);
    if (replacement == kMPSOnlyOperators.end()) {
      op.callBoxed(stack);
    } else {
      auto outputs = replacement->second(Arguments(stack->data() + first, number));
      torch::jit::drop(*stack, number);
      for (auto& output : outputs) {
        stack->emplace_back(std::move(output));
      }
    }
  }
  host.apply_resizes();
  for (size_t i = 0; i < schema.returns().size(); ++i) {
    auto& value = (*stack)[stack->size() - schema.returns().size() + i];
    value = host.out(value);
  }
}

void run_supported(const c10::OperatorHandle& op, c10::DispatchKeySet, Stack* stack) { run(op, stack); }

// torch's fallback on a Mac: an operator without an MPS kernel raises, or runs on the CPU if the user has enabled it.
void run_fallback(const c10::OperatorHandle& op, c10::DispatchKeySet, Stack* stack) {
  const char* allowed = std::getenv("PYTORCH_ENABLE_MPS_FALLBACK");
  const auto name = c10::toString(op.operator_name());
  // The only operator that always falls back to the CPU on a Mac.
  const bool silent = op.schema().name() == "aten::embedding_renorm_";
  TORCH_CHECK_NOT_IMPLEMENTED(
      silent || (allowed && std::string(allowed) == "1"), "The operator '", name,
      "' is not currently implemented for the MPS device. If you want this op to be considered for addition please "
      "comment on https://github.com/pytorch/pytorch/issues/141287 and mention use-case, that resulted in missing op. "
      "As a temporary fix, you can set the environment variable `PYTORCH_ENABLE_MPS_FALLBACK=1` to use the CPU as a "
      "fallback for this op. WARNING: this will be slower than running natively on MPS.");
  if (!silent) {
    TORCH_WARN(
        "The operator '", name,
        "' is not currently supported on the MPS backend and will fall back to run on the CPU. This may have "
        "performance implications.");
  }
  run(op, stack);
}

// ---------------------------------------------------------------- operators that MPS implements itself

Tensor empty(
    at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>, std::optional<at::Device>,
    std::optional<bool>, std::optional<at::MemoryFormat> format) {
  const auto type = dtype.value_or(c10::typeMetaToScalarType(at::get_default_dtype()));
  check_not_float64(type);
  return Tensor(at::detail::empty_generic(
      size, allocator(), c10::DispatchKeySet(c10::DispatchKey::MPS), type, format));
}

Tensor empty_strided(
    at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<at::Device>, std::optional<bool>) {
  const auto type = dtype.value_or(c10::typeMetaToScalarType(at::get_default_dtype()));
  check_not_float64(type);
  return Tensor(at::detail::empty_strided_generic(
      size, stride, allocator(), c10::DispatchKeySet(c10::DispatchKey::MPS), type));
}

Tensor& copy(Tensor& self, const Tensor& source, bool) {
  count("copy_");
  TORCH_CHECK_TYPE(
      !self.is_mps() || source.scalar_type() != at::kDouble || source.is_mps(),
      "Cannot convert a float64 Tensor to MPS as the MPS framework doesn't support float64. "
      "Please use float32 instead.");
  Host host{{}, {}, true};
  c10::impl::ExcludeDispatchKeyGuard below_autograd(c10::autograd_dispatch_keyset_with_ADInplaceOrView);
  host.in(self).copy_(host.in(source));
  return self;
}

Tensor strided(
    const Tensor& self, at::IntArrayRef size, at::IntArrayRef stride, std::optional<int64_t> offset) {
  auto made = at::detail::make_tensor<c10::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(self.storage()), self.key_set(), self.dtype());
  made.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride, offset.value_or(self.storage_offset()));
  return made;
}

Tensor viewed(const Tensor& self, at::IntArrayRef size) {
  const auto inferred = at::infer_size(size, self.numel());
  const auto stride = at::detail::computeStride(self.sizes(), self.strides(), inferred);
  TORCH_CHECK(
      stride.has_value(),
      "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
      "contiguous subspaces). Use .reshape(...) instead.");
  return strided(self, inferred, *stride, self.storage_offset());
}

Tensor reshape_alias(const Tensor& self, at::IntArrayRef size, at::IntArrayRef stride) {
  return strided(self, size, stride, self.storage_offset());
}

Tensor unfolded(const Tensor& self, int64_t dimension, int64_t size, int64_t step) {
  const auto dim = at::maybe_wrap_dim(dimension, self.dim());
  auto sizes = self.sizes().vec(), strides = self.strides().vec();
  sizes.push_back(size);
  strides.push_back(strides[dim]);
  sizes[dim] = (sizes[dim] - size) / step + 1;
  strides[dim] *= step;
  return strided(self, sizes, strides, self.storage_offset());
}

Tensor& set_storage(
    Tensor& self, c10::Storage source, int64_t offset, at::IntArrayRef size, at::IntArrayRef stride) {
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(source));
  if (stride.empty()) {
    impl->set_storage_offset(offset);
    impl->set_sizes_contiguous(size);
  } else {
    impl->set_sizes_and_strides(size, stride, offset);
  }
  return self;
}

Tensor& set_tensor(Tensor& self, const Tensor& source) {
  return set_storage(self, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}

Tensor& set_whole_storage(Tensor& self, c10::Storage source) {
  const auto elements = static_cast<int64_t>(source.nbytes() / self.dtype().itemsize());
  return set_storage(self, std::move(source), 0, {elements}, {});
}

// MPS runs a 1d convolution as a 2d convolution whose first dimension has size 1.
struct Planes {
  bool flat;

  Tensor wide(const Tensor& tensor) const { return flat ? tensor.unsqueeze(2) : tensor; }
  Tensor narrow(const Tensor& tensor) const { return flat && tensor.defined() ? tensor.squeeze(2) : tensor; }
  std::vector<int64_t> both(at::IntArrayRef sizes, int64_t first) const {
    if (flat) {
      return {first, sizes[0]};
    }
    return sizes.size() == 1 ? std::vector<int64_t>{sizes[0], sizes[0]} : sizes.vec();
  }
};

Tensor convolution_by_device(
    const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias, at::IntArrayRef stride,
    at::IntArrayRef padding, at::IntArrayRef dilation, bool is_transposed, at::IntArrayRef output_padding,
    int64_t groups) {
  const Planes as{weight.dim() == 3};
  if (!is_transposed) {
    return as.narrow(at::_mps_convolution(
        as.wide(input), as.wide(weight), bias, as.both(padding, 0), as.both(stride, 1), as.both(dilation, 1), groups));
  }
  const auto output = as.narrow(at::_mps_convolution_transpose(
      as.wide(input), as.wide(weight), as.both(padding, 0), as.both(output_padding, 0), as.both(stride, 1),
      as.both(dilation, 1), groups));
  if (!bias || !bias->defined()) {
    return output;
  }
  std::vector<int64_t> shape(output.dim(), 1);
  shape[1] = -1;
  return output.add(bias->reshape(shape));
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward_by_device(
    const Tensor& grad, const Tensor& input, const Tensor& weight, at::OptionalIntArrayRef, at::IntArrayRef stride,
    at::IntArrayRef padding, at::IntArrayRef dilation, bool is_transposed, at::IntArrayRef output_padding,
    int64_t groups, std::array<bool, 3> mask) {
  const Planes as{weight.dim() == 3};
  if (!is_transposed) {
    auto [to_input, to_weight, to_bias] = at::mps_convolution_backward(
        as.wide(input), as.wide(grad), as.wide(weight), as.both(padding, 0), as.both(stride, 1), as.both(dilation, 1),
        groups, mask);
    return {as.narrow(to_input), as.narrow(to_weight), to_bias};
  }
  auto [to_input, to_weight] = at::mps_convolution_transpose_backward(
      as.wide(input), as.wide(grad), as.wide(weight), as.both(padding, 0), as.both(output_padding, 0),
      as.both(stride, 1), as.both(dilation, 1), groups, {mask[0], mask[1]});
  Tensor to_bias = mask[2] ? as.wide(grad).sum({0, 2, 3}) : Tensor();
  return {as.narrow(to_input), as.narrow(to_weight), to_bias};
}

// With gradients or dropout, a Mac uses the composite implementation, otherwise its own kernel.
Tensor scaled_dot_product_attention(
    const Tensor& query, const Tensor& key, const Tensor& value, const std::optional<Tensor>& mask, double dropout,
    bool is_causal, std::optional<double> scale, bool enable_gqa) {
  const bool needs_grad = at::GradMode::is_enabled() &&
      (query.requires_grad() || key.requires_grad() || value.requires_grad() || (mask && mask->requires_grad()));
  // The MPS kernel requires an additive mask; the composite implementation converts the mask itself.
  std::optional<Tensor> added = mask;
  if (mask && mask->defined() && mask->scalar_type() == at::kBool) {
    added = at::zeros_like(*mask, query.options()).masked_fill_(mask->logical_not(), -INFINITY);
  }
  if (needs_grad || dropout > 0) {
    return std::get<0>(at::_scaled_dot_product_attention_math(
        query, key, value, added, dropout, is_causal, std::nullopt, scale, enable_gqa));
  }
  return std::get<0>(at::_scaled_dot_product_attention_math_for_mps(
      query, key, value, added, dropout, is_causal, std::nullopt, scale, enable_gqa));
}

TORCH_LIBRARY_IMPL(_, MPS, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_fallback>()); }

TORCH_LIBRARY_IMPL(aten, MPS, library) {
  static const std::set<std::string> not_wrapped = {
      "empty.memory_format", "empty_strided", "as_strided", "view", "_reshape_alias",
      // These only change metadata or call copy_, so the composite implementation is used.
      "permute", "repeat", "constant_pad_nd", "unfold", "_copy_from", "_copy_from_and_resize", "_fused_rms_norm",
      "record_stream", "set_.source_Tensor", "set_.source_Storage", "set_.source_Storage_storage_offset", "_grouped_mm"};
  for (const char* name : kNames) {
    if (!not_wrapped.count(name)) {
      library.impl(name, torch::CppFunction::makeFromBoxedFunction<&run_supported>());
    }
  }
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("as_strided", &strided);
  library.impl("view", &viewed);
  library.impl("_reshape_alias", &reshape_alias);
  library.impl("unfold", &unfolded);
  library.impl("set_.source_Tensor", &set_tensor);
  library.impl("set_.source_Storage", &set_whole_storage);
  library.impl("set_.source_Storage_storage_offset", &set_storage);
  library.impl("copy_", &copy);
  library.impl("convolution", &convolution_by_device);
  library.impl("convolution_backward", &convolution_backward_by_device);
  library.impl("scaled_dot_product_attention", &scaled_dot_product_attention);
}

TORCH_LIBRARY_IMPL(aten, AutogradMPS, library) {
  library.impl("scaled_dot_product_attention", &scaled_dot_product_attention);
}

// ---------------------------------------------------------------- device guard and hooks

struct Guard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::MPS> {
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Device getDevice() const override { return kDevice; }
  c10::Stream getStream(c10::Device) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, kDevice); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return getStream(kDevice); }
  c10::Stream getNewStream(c10::Device, int) const override { return getStream(kDevice); }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(const c10::DeviceIndex) const override {}
};

C10_REGISTER_GUARD_IMPL(MPS, Guard)

struct Hooks final : at::MPSHooksInterface {
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasMPS() const override { return true; }
  bool isOnMacOSorNewer(unsigned major, unsigned) const override { return major <= 15; }
  bool hasPrimaryContext(at::DeviceIndex) const override { return true; }
  at::DeviceIndex deviceCount() const override { return 1; }
  void setCurrentDevice(at::DeviceIndex) const override {}
  at::DeviceIndex getCurrentDevice() const override { return 0; }
  at::DeviceIndex exchangeDevice(at::DeviceIndex) const override { return 0; }
  at::DeviceIndex maybeExchangeDevice(at::DeviceIndex) const override { return 0; }
  const at::Generator& getDefaultGenerator(at::DeviceIndex) const override { return default_generator(); }
  at::Generator getNewGenerator(at::DeviceIndex) const override { return at::make_generator<Generator>(); }
  at::Allocator* getMPSDeviceAllocator() const override { return allocator(); }
  void deviceSynchronize() const override {}
  void commitStream() const override {}
  void emptyCache() const override {}
  size_t getCurrentAllocatedMemory() const override { return memory().live; }
  size_t getDriverAllocatedMemory() const override { return memory().live; }
  size_t getRecommendedMaxMemory() const override { return memory().recommended; }
  void setMemoryFraction(double ratio) const override { memory().ratio = ratio; }
};

const bool kReady = [] {
  c10::SetAllocator(c10::DeviceType::MPS, allocator());
  // On a Mac, torch does not start if the low ratio exceeds the high one.
  TORCH_CHECK(
      memory().ratio == 0 || read_env("PYTORCH_MPS_LOW_WATERMARK_RATIO", 1.4) <= memory().ratio,
      "invalid low watermark ratio ", read_env("PYTORCH_MPS_LOW_WATERMARK_RATIO", 1.4));
  return true;
}();

}  // namespace

// These two functions replace those of torch, which do not support MPS on this system.
namespace at::detail {
__attribute__((visibility("default"))) const MPSHooksInterface& getMPSHooks() {
  static const auto* one = new Hooks;
  return *one;
}
}  // namespace at::detail

namespace at::accelerator {
__attribute__((visibility("default"))) std::optional<c10::DeviceType> getAccelerator(bool) {
  return c10::DeviceType::MPS;
}
}  // namespace at::accelerator

// Statistics for the tests.
extern "C" {
size_t mps_emulator_peak() { return memory().peak; }
size_t mps_emulator_live() { return memory().live; }
void mps_emulator_reset_peak() { memory().peak = memory().live; }
size_t mps_emulator_count(const char* name) {
  std::lock_guard<std::mutex> guard(count_mutex());
  return counts()[name];
}
// The operators that were called, one per line; valid until the next call.
const char* mps_emulator_operators() {
  static std::string text;
  std::lock_guard<std::mutex> guard(count_mutex());
  text.clear();
  for (const auto& [name, number] : counts()) {
    text += name + "\n";
  }
  return text.c_str();
}
}
