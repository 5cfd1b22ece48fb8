// Ranks as processes of an MPI job. Built without MPI, it says what is missing.
#include <cstdlib>

#include "core/communicator.h"

#ifdef MEDFUSION_WITH_MPI
#include <mpi.h>

#include <climits>
#endif

namespace medfusion::core {

#ifdef MEDFUSION_WITH_MPI

namespace {

void check(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw RankFailure(fmt::format("MPI: {}: {}", what, text));
}

// `bytes` as a count and a type: a count of MPI is an int.
class Chunk {
 public:
  explicit Chunk(int64_t bytes) {
    constexpr int64_t kBlock = 1 << 20;
    if (bytes <= INT_MAX) {
      count_ = static_cast<int>(bytes);
      return;
    }
    const int64_t blocks = bytes / kBlock, rest = bytes % kBlock;
    MPI_Datatype block = MPI_DATATYPE_NULL, many = MPI_DATATYPE_NULL;
    MPI_Type_contiguous(static_cast<int>(kBlock), MPI_BYTE, &block);
    MPI_Type_contiguous(static_cast<int>(blocks), block, &many);
    const int lengths[] = {1, static_cast<int>(rest)};
    const MPI_Aint places[] = {0, static_cast<MPI_Aint>(blocks * kBlock)};
    const MPI_Datatype types[] = {many, MPI_BYTE};
    MPI_Type_create_struct(2, lengths, places, types, &own_);
    MPI_Type_commit(&own_);
    MPI_Type_free(&block);
    MPI_Type_free(&many);
    count_ = 1;
  }
  ~Chunk() {
    if (own_ != MPI_DATATYPE_NULL) MPI_Type_free(&own_);
  }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

  int count() const { return count_; }
  MPI_Datatype type() const { return own_ == MPI_DATATYPE_NULL ? MPI_BYTE : own_; }

 private:
  int count_ = 0;
  MPI_Datatype own_ = MPI_DATATYPE_NULL;
};

int rank_of_process() {
  int rank = 0;
  check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "rank");
  return rank;
}

int size_of_job() {
  int size = 0;
  check(MPI_Comm_size(MPI_COMM_WORLD, &size), "size");
  return size;
}

class Mpi : public Communicator {
 public:
  Mpi() : Communicator(rank_of_process(), size_of_job()) {
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "error handler");
    MPI_Comm host = MPI_COMM_NULL;
    check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host),
          "ranks of a host");
    check(MPI_Comm_rank(host, &local_rank_), "rank on the host");
    MPI_Comm_free(&host);
  }
  const char* name() const override { return "mpi"; }
  int local_rank() const { return local_rank_; }

 protected:
  void do_all_to_all(const void* from, void* to, int64_t bytes) override {
    const Chunk chunk(bytes);
    check(MPI_Alltoall(from, chunk.count(), chunk.type(), to, chunk.count(), chunk.type(), MPI_COMM_WORLD),
          "all to all");
  }
  void do_all_gather(const void* from, void* to, int64_t bytes) override {
    const Chunk chunk(bytes);
    const bool in_place = from == static_cast<const char*>(to) + rank() * bytes;
    check(MPI_Allgather(in_place ? MPI_IN_PLACE : from, chunk.count(), chunk.type(), to, chunk.count(),
                        chunk.type(), MPI_COMM_WORLD),
          "all gather");
  }
  void do_broadcast(void* data, int64_t bytes, int root) override {
    const Chunk chunk(bytes);
    check(MPI_Bcast(data, chunk.count(), chunk.type(), root, MPI_COMM_WORLD), "broadcast");
  }
  void do_barrier() override { check(MPI_Barrier(MPI_COMM_WORLD), "barrier"); }

 private:
  int local_rank_ = 0;
};

void finalize() {
  int done = 0;
  MPI_Finalized(&done);
  if (done == 0) MPI_Finalize();
}

Mpi& the_ranks() {
  static Mpi* const instance = [] {
    int given = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &given), "start");
    if (given < MPI_THREAD_SERIALIZED) throw Error("MPI: this library cannot be called by several threads");
    std::atexit(finalize);
    return new Mpi;  // atexit's functions may come after the statics are destroyed
  }();
  return *instance;
}

}  // namespace

bool has_mpi() { return true; }

Communicator& mpi_communicator() { return the_ranks(); }

int local_mpi_rank() { return the_ranks().local_rank(); }

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string version = text;
  return version.substr(0, version.find_first_of(",\n"));
}

void abort_mpi(int code) {
  MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);
}

#else

bool has_mpi() { return false; }

Communicator& mpi_communicator() {
  throw Error(
      "this build has no MPI; install Open MPI with its headers (Debian: libopenmpi-dev) and build anew");
}

int local_mpi_rank() { return mpi_communicator().rank(); }

std::string mpi_version() { return {}; }

void abort_mpi(int code) { std::_Exit(code); }

#endif

}  // namespace medfusion::core
