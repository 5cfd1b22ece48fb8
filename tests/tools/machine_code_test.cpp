// Reading machine code: cubins, listings of instructions, the compiler's report, and what is checked of them.
#include "tools/medfusion/workshop/machine_code.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "tools/medfusion/workshop/occupancy.h"
#include "tools/medfusion/workshop/static_check.h"

namespace medfusion::tools {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Widths = std::map<int, int64_t>;

TEST(MachineCode, InstructionsOfSassAreCountedByKindAndWidth) {
  const InstructionMix mix = mix_of_sass(R"(
        /*0000*/                   IMAD.MOV.U32 R1, RZ, RZ, c[0x0][0x28] ;   /* 0x00000a00ff017624 */
                                                                             /* 0x000fe400078e00ff */
        /*0010*/              @!P0 LDG.E.128.CONSTANT R4, desc[UR4][R2.64] ; /* 0x0000000000097919 */
        /*0020*/                   LDG.E.EF.128 R4, [R2.64+0x10] ;
        /*0030*/                   LDG.E R0, [R2.64] ;
        /*0040*/              @P3  LDG.E.U16 R0, [R2.64] ;
        /*0050*/                   LDGSTS.E.BYPASS.LTC128B.128 [R7], [R4.64] ;
        /*0060*/                   LDGSTS.E.LTC128B [R7], [R4.64] ;
        /*0070*/                   STG.E.64 desc[UR4][R2.64], R4 ;
        /*0080*/                   STG.E.128 desc[UR4][R2.64], R4 ;
        /*0090*/                   STL [R1+0x8], R4 ;
        /*00a0*/                   LDL.64 R4, [R1+0x8] ;
        /*00b0*/                   LDL R4, [R1] ;
        /*00c0*/                   HMMA.16816.F32.BF16 R4, R4, R8, RZ ;
        /*00d0*/                   HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], RZ, !UPT, gsb0 ;
        /*00e0*/                   HFMA2.MMA R13, -RZ, RZ, 0, 0 ;
        /*00f0*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*0100*/                   UTMALDG.2D [UR8], [UR4], desc[UR6] ;
        /*0110*/                   RED.E.ADD.F32.FTZ.RN.STRONG.GPU [R2.64], R5 ;
        /*0120*/                   LDS.128 R4, [R0] ;
.L_x_1:
        /*0130*/                   BRA `(.L_x_1) ;
        /*0140*/                   NOP ;
)");
  EXPECT_EQ(mix.source, "SASS");
  EXPECT_EQ(mix.global_loads, (Widths{{2, 1}, {4, 2}, {16, 3}}));
  EXPECT_EQ(mix.global_stores, (Widths{{8, 1}, {16, 1}}));
  EXPECT_EQ(mix.local_loads, 2);
  EXPECT_EQ(mix.local_stores, 1);
  EXPECT_EQ(mix.hmma, 1);
  EXPECT_EQ(mix.hgmma, 1);
  EXPECT_EQ(mix.barriers, 1);
  EXPECT_EQ(mix.bulk_copies, 1);
  EXPECT_EQ(mix.atomics, 1);
  EXPECT_EQ(mix.instructions, 20);  // all but the NOP
  EXPECT_DOUBLE_EQ(mix.wide_share(), 64.0 / 82.0);
}

TEST(MachineCode, InstructionsOfPtxAreCountedByKindAndWidth) {
  const InstructionMix mix = mix_of_ptx(R"(.entry kernel(
.param .u64 kernel_param_0
)
.maxntid 128
{
.reg .b32 	%r<9>;
ld.param.u64 	%rd1, [kernel_param_0];
@%p1 bra 	$L__BB0_2;
ld.global.nc.v4.f32 	{%f1, %f2, %f3, %f4}, [%rd4];
@%p2 ld.global.v2.b64 	{%rd1, %rd2}, [%rd4+16];
ld.global.nc.u16 	%rs1, [%rd4];
ld.shared.v4.f32 	{%f1, %f2, %f3, %f4}, [%r4]; // ld.global.f32 in a comment
cp.async.cg.shared.global [%r1], [%rd2], 16;
cp.async.ca.shared.global [%r1], [%rd2], 4, %r3;
cp.async.commit_group;
cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1, {%r2, %r3}], [%r4];
cp.async.bulk.commit_group;
st.global.v4.b32 	[%rd4], {%r1, %r2, %r3, %r4};
st.global.f32 	[%rd4], %f1;
{ mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1}, {%r1}, {%r2}, {%f1}; }
wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%f1}, %rd1, %rd2, 1, 1, 1, 0, 0;
wgmma.fence.sync.aligned;
ld.local.u32 	%r1, [%rd1];
st.local.u32 	[%rd1], %r1;
red.global.add.f32 	[%rd1], %f1;
bar.sync 	0;
$L__BB0_2:
ret;
}
)");
  EXPECT_EQ(mix.source, "PTX");
  EXPECT_EQ(mix.global_loads, (Widths{{2, 1}, {4, 1}, {16, 3}}));
  EXPECT_EQ(mix.global_stores, (Widths{{4, 1}, {16, 1}}));
  EXPECT_EQ(mix.hmma, 1);
  EXPECT_EQ(mix.hgmma, 1);
  EXPECT_EQ(mix.local_loads, 1);
  EXPECT_EQ(mix.local_stores, 1);
  EXPECT_EQ(mix.bulk_copies, 1);
  EXPECT_EQ(mix.atomics, 1);
  EXPECT_EQ(mix.barriers, 1);
  EXPECT_DOUBLE_EQ(mix.wide_share(), 64.0 / 74.0);
}

TEST(MachineCode, AccessesInLoopsDecideWhereThereAreLoops) {
  const InstructionMix sass = mix_of_sass(R"(
        /*0010*/                   LDG.E R2, [R2.64] ;
        /*0020*/                   LDG.E.128 R4, [R2.64] ;
        /*0030*/                   STG.E.64 [R2.64], R4 ;
        /*0040*/              @!P0 BRA 0x20 ;
        /*0050*/                   STG.E [R2.64], R2 ;
        /*0060*/              @P1  BRA 0x80 ;
        /*0070*/                   BRA 0x10 ;
        /*0080*/                   EXIT ;
)");
  // Where conditional branches backwards hold no access, one without a condition closes the loop.
  const InstructionMix jump = mix_of_sass(R"(
        /*0010*/                   LDG.E R2, [R2.64] ;
        /*0020*/              @P0  BRA 0x50 ;
        /*0030*/                   LDG.E.128 R4, [R2.64] ;
        /*0040*/                   BRA 0x20 ;
        /*0050*/                   IADD3 R0, R0, 0x1, RZ ;
        /*0060*/              @P1  BRA 0x50 ;
        /*0070*/                   EXIT ;
        /*0080*/                   BRA 0x80 ;
)");
  EXPECT_EQ(jump.in_loops, (Widths{{16, 1}}));
  EXPECT_EQ(sass.in_loops, (Widths{{8, 1}, {16, 1}}));
  EXPECT_EQ(sass.global_loads, (Widths{{4, 1}, {16, 1}}));
  EXPECT_DOUBLE_EQ(sass.wide_share(), 16.0 / 24.0);

  const InstructionMix ptx = mix_of_ptx(R"(.entry kernel() {
ld.global.f32 %f1, [%rd1];
@%p9 bra $L__BB0_2;
$L__BB0_1:
ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1];
st.global.f32 [%rd1], %f1;
@%p1 bra $L__BB0_1;
$L__BB0_2:
st.global.f32 [%rd1], %f1;
ret;
})");
  EXPECT_EQ(ptx.in_loops, (Widths{{4, 1}, {16, 1}}));
  EXPECT_DOUBLE_EQ(ptx.wide_share(), 16.0 / 20.0);
}

TEST(MachineCode, AKernelWithoutGlobalAccessesHasNoNarrowOnes) {
  EXPECT_EQ(InstructionMix().wide_share(), 1.0);
}

constexpr const char* kForward4 =
    "_ZN9medfusion7kernels56_GLOBAL__N__022e0fee_18_layer_norm_simt_cu_ef74a7d0_451018layer_norm_"
    "forwardILi4EEEvPKfS4_S4_PfS5_S5_lillf";

KernelCode named(const std::string& mangled) {
  KernelCode code;
  code.mangled = mangled;
  name_kernel(code, {{"layer_norm", {"reference", "cpu", "simt"}},
                     {"attention", {"mma", "mma_short", "simt"}},
                     {"layer", {"norm"}}});
  return code;
}

TEST(MachineCode, NamesComeFromTheFileInTheMangledName) {
  const KernelCode code = named(kForward4);
  EXPECT_EQ(code.stem, "layer_norm_simt");
  EXPECT_EQ(code.operation, "layer_norm");
  EXPECT_EQ(code.variant, "simt");
  EXPECT_EQ(code.kernel, "layer_norm_forward<4>");

  // A part of a variant in a file of its own, a type of the file as argument, bool arguments.
  const KernelCode part = named(
      "_ZN9medfusion7kernels58_GLOBAL__N__01234567_31_attention_mma_short_backward_cu_89abcdef_7"
      "4stepILi64ELb1EEEvPf");
  EXPECT_EQ(part.stem, "attention_mma_short_backward");
  EXPECT_EQ(part.operation, "attention");
  EXPECT_EQ(part.variant, "mma_short");

  const KernelCode unknown =
      named("_ZN9medfusion7kernels48_GLOBAL__N__01234567_14_new_op_fast_cu_89abcdef_74stepEPf");
  EXPECT_EQ(unknown.operation, "new_op");
  EXPECT_EQ(unknown.variant, "fast");

  const KernelCode plain = named("_Z5plainPf");
  EXPECT_EQ(plain.stem, "");
  EXPECT_EQ(plain.operation, "");
  EXPECT_EQ(plain.kernel, "plain");
  EXPECT_EQ(named("kernel_in_c").kernel, "kernel_in_c");
}

// The smallest ELF that has what is read of a cubin: sections, one kernel, its .nv.info, PTX.
class CubinBuilder {
 public:
  void add(const std::string& name, const std::string& content, uint32_t type = 1, uint64_t size = 0) {
    sections_.push_back({name, content, type, size == 0 ? content.size() : size});
  }

  std::string build(uint32_t flags) const {
    std::string names(1, '\0'), body;
    std::vector<std::string> headers{std::string(64, '\0')};
    auto all = sections_;
    all.push_back({".shstrtab", "", 3, 0});
    for (const Section& each : all) names += each.name + '\0';
    all.back().content = names;
    all.back().size = names.size();
    uint32_t name_at = 1;
    for (const Section& each : all) {
      std::string header(64, '\0');
      put<uint32_t>(header, 0, name_at);
      put<uint32_t>(header, 4, each.type);
      put<uint64_t>(header, 24, 64 + body.size());
      put<uint64_t>(header, 32, each.size);
      headers.push_back(header);
      body += each.content;
      name_at += static_cast<uint32_t>(each.name.size()) + 1;
    }
    std::string file(64, '\0');
    std::memcpy(file.data(),
                "\x7f"
                "ELF\x02\x01\x01\x41\x08",
                9);
    put<uint16_t>(file, 18, 190);
    put<uint64_t>(file, 40, 64 + body.size());
    put<uint32_t>(file, 48, flags);
    put<uint16_t>(file, 60, static_cast<uint16_t>(headers.size()));
    put<uint16_t>(file, 62, static_cast<uint16_t>(headers.size() - 1));
    file += body;
    for (const std::string& header : headers) file += header;
    return file;
  }

  template <class T>
  static void put(std::string& bytes, size_t at, T value) {
    std::memcpy(bytes.data() + at, &value, sizeof(value));
  }
  template <class... T>
  static std::string words(T... values) {
    std::string bytes;
    for (const uint32_t value : {static_cast<uint32_t>(values)...}) {
      bytes.append(reinterpret_cast<const char*>(&value), 4);
    }
    return bytes;
  }

 private:
  struct Section {
    std::string name, content;
    uint32_t type;
    uint64_t size;
  };
  std::vector<Section> sections_;
};

constexpr uint32_t kNoBits = 8;

std::string cubin(const std::string& target, uint32_t flags, const std::string& kernel = "step") {
  CubinBuilder builder;
  builder.add(".text." + kernel, std::string(32, 'x'));  // section 1
  builder.add(".text.helper", std::string(32, 'x'));     // no kernel
  std::string symbol(24, '\0');
  CubinBuilder::put<uint16_t>(symbol, 6, 1);
  builder.add(".symtab", std::string(24, '\0') + symbol);
  builder.add(".nv.info",
              CubinBuilder::words(0x00081104, 1, 48, 0x00082f04, 1, 40));  // frame and registers of symbol 1
  builder.add(".nv.info." + kernel, CubinBuilder::words(0x00041b03, 0x000c0504, 128, 2, 1)  // threads
  );
  builder.add(".nv.shared." + kernel, "", kNoBits, flags >> 8 == 80 ? 512 : 512 + 1024);
  // A kernel of a header is one of the file that has it: its other names tell.
  builder.add(".strtab", std::string("\0step\0", 6) +
                             "_ZN47_GLOBAL__N__01234567_12_op_simt_2_cu_89abcdef_75otherEv" +
                             std::string(1, '\0'));
  std::string ptx = ".target " + target + "\n.entry other(\n{\nld.global.f32 %f1, [%r];\n}\n.entry " +
                    kernel + "(\n{\nst.global.v4.f32 [%r], {%f1};\n}\n";
  std::replace(ptx.begin(), ptx.end(), '\n', '\0');
  builder.add(".nv_debug_ptx_txt", ptx);
  return builder.build(flags);
}

TEST(MachineCode, CubinsAreFoundInsideAFile) {
  const std::string file =
      "a library\x7f"
      "ELF\x02\x01\x01 of the host, and " +
      cubin("sm_80", 80 << 8) + std::string(100, 'z') + cubin("sm_90a", 90 << 8);
  const std::vector<KernelCode> kernels = read_kernels(file);
  ASSERT_EQ(kernels.size(), 2U);
  EXPECT_EQ(kernels[0].architecture, "sm_80");
  EXPECT_EQ(kernels[1].architecture, "sm_90a");
  for (const KernelCode& code : kernels) {
    EXPECT_EQ(code.mangled, "step");
    EXPECT_EQ(code.stem, "op_simt_2");
    EXPECT_EQ(code.registers, 40);
    EXPECT_EQ(code.shared_bytes, 512);  // without what the driver reserves
    EXPECT_EQ(code.stack_bytes, 48);
    EXPECT_EQ(code.max_threads, 256);
    ASSERT_TRUE(code.mix.has_value());
    EXPECT_EQ(code.mix->source, "PTX");
    EXPECT_EQ(code.mix->global_stores, (Widths{{16, 1}}));
    EXPECT_THAT(code.mix->global_loads, IsEmpty());  // those of the other kernel
  }
}

TEST(MachineCode, ACubinThatIsCutOffIsAnError) {
  const std::string whole = cubin("sm_80", 80 << 8);
  ASSERT_EQ(read_kernels(whole).size(), 1U);
  for (const size_t size : {size_t{64}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    EXPECT_THROW(read_kernels(whole.substr(0, size)), core::Error) << size;
  }
  EXPECT_THAT(read_kernels(""), IsEmpty());
}

TEST(MachineCode, TheReportOfPtxasGivesTheBytesOfSpills) {
  std::vector<KernelCode> kernels = read_kernels(cubin("sm_80", 80 << 8) + cubin("sm_90a", 90 << 8));
  add_ptxas_report(kernels, R"(ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'step' for 'sm_90a'
ptxas info    : Function properties for step
    48 bytes stack frame, 40 bytes spill stores, 44 bytes spill loads
ptxas info    : Function properties for helper
    0 bytes stack frame, 7 bytes spill stores, 7 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 512 bytes smem
ptxas info    : Compiling entry function 'absent' for 'sm_80'
ptxas info    : Function properties for absent
    0 bytes stack frame, 8 bytes spill stores, 8 bytes spill loads
)");
  EXPECT_FALSE(kernels[1].wgmma_serialized);
  EXPECT_EQ(kernels[1].spill_stores, 40);
  EXPECT_EQ(kernels[1].spill_loads, 44);
  EXPECT_FALSE(kernels[0].spill_stores.has_value());
}

TEST(MachineCode, TheReportTellsOfSerializedWgmmas) {
  std::vector<KernelCode> kernels = read_kernels(cubin("sm_90a", 90 << 8));
  const std::string line =
      "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized due "
      "to "
      "insufficient register resources for the function ";
  add_ptxas_report(kernels, line + "'other'\n");
  EXPECT_FALSE(kernels[0].wgmma_serialized);
  add_ptxas_report(kernels, line + "'step'\n");
  EXPECT_TRUE(kernels[0].wgmma_serialized);
}

TEST(MachineCode, AListingOfSassReplacesTheMixOfPtx) {
  std::vector<KernelCode> kernels = read_kernels(cubin("sm_80", 80 << 8) + cubin("sm_90a", 90 << 8));
  add_sass(kernels,
           "\tcode for sm_80\n\t\tFunction : step\n\t.headerflags\t@\"EF\"\n"
           "        /*0000*/  LDG.E.64 R2, [R2.64] ;  /* 0x0 */\n"
           "\tcode for sm_86\n\t\tFunction : step\n        /*0000*/  STG.E [R2.64], R2 ;\n");
  EXPECT_EQ(kernels[0].mix->source, "SASS");
  EXPECT_EQ(kernels[0].mix->global_loads, (Widths{{8, 1}}));
  EXPECT_THAT(kernels[0].mix->global_stores, IsEmpty());
  EXPECT_EQ(kernels[1].mix->source, "PTX");
}

TEST(Occupancy, FollowsTheTightestLimit) {
  const auto limit = [](int registers, int64_t shared, int threads,
                        const std::string& architecture = "sm_80") {
    const auto found = occupancy_of(architecture, registers, shared, threads);
    return found ? fmt::format("{} {} {}", found->blocks, found->warps, found->limit) : "none";
  };
  EXPECT_EQ(limit(32, 0, 128), "16 64 threads");
  EXPECT_EQ(limit(54, 0, 128), "9 36 registers");                        // 56 x 32 = 1792 per warp, 36 warps
  EXPECT_EQ(limit(255, 0, 1024), "0 0 registers");                       // cannot be launched
  EXPECT_EQ(limit(168, 0, 384), "1 12 registers");                       // 5376 per warp, 12 warps
  EXPECT_EQ(limit(32, 40 * 1024, 128), "4 16 shared memory");            // 41 KiB of 164
  EXPECT_EQ(limit(32, 40 * 1024, 128, "sm_90a"), "5 20 shared memory");  // of 228
  EXPECT_EQ(limit(16, 0, 32), "32 32 blocks");
  EXPECT_EQ(limit(32, 0, 0), "none");
  EXPECT_EQ(limit(32, 0, 128, "sm_120"), "none");
  EXPECT_DOUBLE_EQ(occupancy_of("sm_80", 54, 0, 128)->share, 36.0 / 64.0);
}

KernelCode code(const std::string& variant, const std::string& kernel,
                const std::string& architecture = "sm_80") {
  KernelCode result;
  result.operation = "op";
  result.variant = variant;
  result.stem = "op_" + variant;
  result.kernel = kernel;
  result.architecture = architecture;
  result.mix.emplace();
  return result;
}
KernelCode moving(const std::string& kernel, Widths loads, Widths stores = {}) {
  KernelCode result = code("simt", kernel);
  result.mix->global_loads = std::move(loads);
  result.mix->global_stores = std::move(stores);
  return result;
}
KernelCode with_hmma(KernelCode result, int64_t count = 8) {
  (result.variant == "wgmma" ? result.mix->hgmma : result.mix->hmma) = count;
  return result;
}

TEST(StaticCheck, NoKernelMaySpill) {
  KernelCode good = with_hmma(code("mma", "forward"));
  EXPECT_THAT(static_violations({good}, {}), IsEmpty());
  KernelCode spills = good;
  spills.spill_loads = 4;
  EXPECT_THAT(static_violations({spills}, {}),
              ElementsAre(HasSubstr("op/mma forward (sm_80): spills 4 bytes")));
  KernelCode local = good;
  local.mix->local_stores = 3;
  EXPECT_THAT(static_violations({local}, {}), ElementsAre(HasSubstr("3 instructions on local memory")));
  spills.variant = local.variant = "simt";
  EXPECT_THAT(static_violations({spills, local}, {}),
              ElementsAre(HasSubstr("op/simt forward (sm_80): spills 4 bytes"),
                          HasSubstr("op/simt forward (sm_80): 3 instructions on local memory")));
  spills.variant.clear();  // of a shared header
  EXPECT_THAT(static_violations({spills}, {}), ElementsAre(HasSubstr("spills 4 bytes")));
}

TEST(StaticCheck, WgmmasMustNotBeSerialized) {
  KernelCode kernel = with_hmma(code("wgmma", "forward", "sm_90a"));
  EXPECT_THAT(static_violations({kernel}, {}), IsEmpty());
  kernel.wgmma_serialized = true;
  EXPECT_THAT(static_violations({kernel}, {}),
              ElementsAre("op/wgmma forward (sm_90a): ptxas serializes its wgmmas"));
}

TEST(StaticCheck, VariantsOfOtherNamesCountAsTensorCoreVariants) {
  KernelCode spills = with_hmma(code("few", "forward"));
  EXPECT_THAT(static_violations({spills}, {}), IsEmpty());
  spills.spill_stores = 4;
  EXPECT_THAT(static_violations({spills}, {}),
              ElementsAre(HasSubstr("op/few forward (sm_80): spills 4 bytes")));
  EXPECT_THAT(static_violations({code("short", "forward")}, {}),
              ElementsAre("op/short: no HMMA in its code for sm_80"));
  EXPECT_THAT(static_violations({with_hmma(code("mma", "forward"))}, {{"op", "few"}}),
              ElementsAre("op/few: no machine code in this build"));
}

TEST(StaticCheck, TensorCoreVariantsMustUseThem) {
  EXPECT_THAT(static_violations({code("mma", "forward")}, {}),
              ElementsAre("op/mma: no HMMA in its code for sm_80"));
  EXPECT_THAT(static_violations({code("wgmma", "forward", "sm_90a")}, {}),
              ElementsAre("op/wgmma: no HGMMA in its code for sm_90a"));
  KernelCode wrong = code("wgmma", "forward", "sm_90a");
  wrong.mix->hmma = 8;
  EXPECT_THAT(static_violations({wrong}, {}), ElementsAre("op/wgmma: no HGMMA in its code for sm_90a"));
  // A kernel that sums parts up needs none, but one instantiation of several may not lose them.
  EXPECT_THAT(static_violations({with_hmma(code("mma", "forward<64>")), code("mma", "combine")}, {}),
              IsEmpty());
  EXPECT_THAT(static_violations({with_hmma(code("mma", "forward<64>")), code("mma", "forward<128>")}, {}),
              ElementsAre("op/mma forward<128> (sm_80): no HMMA, unlike its other instantiations"));
  EXPECT_THAT(static_violations({with_hmma(code("mma", "forward")), code("mma", "forward", "sm_90")}, {}),
              testing::Contains("op/mma: no HMMA in its code for sm_90"));
}

TEST(StaticCheck, AlignedPathsMoveSixteenBytes) {
  EXPECT_THAT(static_violations({moving("copy<1>", {{4, 9}}), moving("copy<4>", {{16, 8}, {4, 2}})}, {}),
              IsEmpty());
  EXPECT_THAT(static_violations({moving("copy<1>", {{4, 9}}), moving("copy<4>", {{16, 2}, {4, 1}})}, {}),
              ElementsAre(HasSubstr("op/simt copy<4> (sm_80): 89 % of the bytes")));
  EXPECT_THAT(static_violations({moving("copy<1>", {{4, 1}}), moving("copy<4>", {{16, 1}}, {{8, 1}})}, {}),
              ElementsAre(HasSubstr("67 %")));
  // What the table excuses is held to its own share.
  EXPECT_THAT(static_violations({moving("max_pool_backward<1>", {{4, 1}}),
                                 moving("max_pool_backward<4>", {{16, 7}, {4, 7}}, {{16, 1}})},
                                {}),
              IsEmpty());
  EXPECT_THAT(
      static_violations(
          {moving("max_pool_backward<1>", {{4, 1}}), moving("max_pool_backward<4>", {{16, 1}, {4, 2}})}, {}),
      ElementsAre(HasSubstr("67 % of the bytes of its aligned path move in accesses of 16 bytes, 80 %")));
  // One instantiation alone is excused further.
  EXPECT_THAT(static_violations({moving("max_pool_backward<1, BFloat16>", {{4, 1}}),
                                 moving("max_pool_backward<8, BFloat16>", {{16, 1}, {4, 2}})},
                                {}),
              IsEmpty());
  EXPECT_THAT(
      static_violations({moving("max_pool_backward<1, BFloat16>", {{4, 1}}),
                         moving("max_pool_backward<8, BFloat16>", {{16, 1}, {4, 3}})},
                        {}),
      ElementsAre(HasSubstr("57 % of the bytes of its aligned path move in accesses of 16 bytes, 66 %")));
  EXPECT_THAT(static_violations({moving("adamw<1>", {{4, 1}}), moving("adamw<4>", {{16, 1}, {4, 30}})}, {}),
              IsEmpty());
  EXPECT_THAT(static_violations({moving("adamw<1>", {{4, 1}}), moving("adamw<4>", {{4, 31}})}, {}),
              ElementsAre(HasSubstr("adamw<4> (sm_80): 0 %")));
  // Only the widest, and of each type by itself; without <1> the argument is something else.
  EXPECT_THAT(static_violations({moving("copy<1, float>", {{4, 1}}), moving("copy<2, float>", {{8, 1}}),
                                 moving("copy<4, float>", {{16, 1}}), moving("copy<8, half>", {{8, 1}})},
                                {}),
              IsEmpty());
  EXPECT_THAT(static_violations({moving("attention<64>", {{4, 1}}), moving("attention<128>", {{4, 1}})}, {}),
              IsEmpty());
  EXPECT_EQ(aligned_paths({moving("copy<1>", {}), moving("copy<4>", {}), moving("step", {})}).size(), 1U);
}

TEST(StaticCheck, AShippedVariantHasMachineCode) {
  const std::vector<KernelCode> kernels{moving("copy", {})};
  EXPECT_THAT(static_violations(kernels, {{"op", "simt"}, {"matmul", "cublas"}}), IsEmpty());
  EXPECT_THAT(static_violations(kernels, {{"op", "mma"}}),
              ElementsAre("op/mma: no machine code in this build"));
}

}  // namespace
}  // namespace medfusion::tools
