// The best monitor: runs the same images as plain.c with the fastest methods known.
//
//     best IMAGE [RUNS]
//
// It makes only the KVM calls that these images need. It reads input and writes output in large pieces. After the
// first 1024 bytes of a `rep insb`, it copies the rest to RAM at once. After the first byte of a `rep outsb`, it
// copies the rest from RAM at once. From the 1000th output exit on, KVM collects output in a ring, without exits
// (coalesced PIO). The ring is not used from the first exit on, because a VM with a ring takes 13 ms to close. With
// RUNS, it runs that many machines, one after another.
//
// It shows what a monitor can reach, and is not for use. It names no fault, has no limits, trusts segments to be flat
// and addresses to be in RAM, and knows one port for input and output. The output of a guest that computes appears
// only when the guest reads input or ends.

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM_SIZE (16 << 20)
#define PAGE_SIZE 4096
#define CONSOLE 0xe9
#define EXIT 0xf4
#define EXITS_UNTIL_RING 1000
#define BUFFER_SIZE (64 << 10)
#define INPUT_PIECE 1024

static uint8_t input[BUFFER_SIZE], output[BUFFER_SIZE];
static size_t input_at, input_end, output_len;

static int call(int fd, unsigned long request, void *argument) {
    int result = ioctl(fd, request, argument);
    if (result < 0) _exit(125);
    return result;
}

static void *map(int size, int flags, int fd) {
    void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (address == MAP_FAILED) _exit(125);
    return address;
}

static void flush(void) {
    for (size_t at = 0; at < output_len;) {
        ssize_t len = write(STDOUT_FILENO, output + at, output_len - at);
        if (len <= 0) _exit(125);
        at += len;
    }
    output_len = 0;
}

static void send(const uint8_t *bytes, size_t len) {
    if (output_len + len > BUFFER_SIZE) flush();
    memcpy(output + output_len, bytes, len);
    output_len += len;
}

// Moves what KVM has collected to the buffer (KVM API 4.116).
static void drain(struct kvm_coalesced_mmio_ring *ring) {
    const uint32_t entries = (PAGE_SIZE - sizeof *ring) / sizeof ring->coalesced_mmio[0];
    uint32_t first = ring->first, last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);
    if (first == last) return;
    for (; first != last; first = first + 1 == entries ? 0 : first + 1) {
        if (output_len == BUFFER_SIZE) flush();
        output[output_len++] = ring->coalesced_mmio[first].data[0];
    }
    __atomic_store_n(&ring->first, last, __ATOMIC_RELEASE);
}

// Fills a transfer with input. Returns 0 at the end of input.
static int receive(uint8_t *bytes, size_t len) {
    while (len > 0) {
        if (input_at == input_end) {
            flush();
            ssize_t got = read(STDIN_FILENO, input, BUFFER_SIZE);
            if (got <= 0) return 0;
            input_at = 0, input_end = got;
        }
        size_t piece = input_end - input_at < len ? input_end - input_at : len;
        memcpy(bytes, input + input_at, piece);
        bytes += piece, input_at += piece, len -= piece;
    }
    return 1;
}

// Completes a `rep insb` or `rep outsb` after one of its exits. Returns 1 if the exit was one of these, 0 if not, and
// -1 at the end of input. EIP is known only when the I/O is finished, which KVM_RUN does first. Registers are
// exchanged in the page shared with KVM.
static int finish(int vcpu, struct kvm_run *run, uint8_t *ram, int in) {
    struct kvm_regs *regs = &run->s.regs.regs;
    run->kvm_valid_regs = KVM_SYNC_X86_REGS;
    run->immediate_exit = 1;
    ioctl(vcpu, KVM_RUN, 0);
    run->immediate_exit = 0;
    run->kvm_valid_regs = 0;
    if (memcmp(ram + regs->rip, in ? "\xf3\x6c" : "\xf3\x6e", 2) != 0 || regs->rcx == 0) return 0;
    for (; regs->rcx > 0;) {
        size_t piece = regs->rcx < BUFFER_SIZE ? regs->rcx : BUFFER_SIZE;
        if (in) {
            if (!receive(ram + regs->rdi, piece)) return -1;
            regs->rdi += piece;
        } else {
            send(ram + regs->rsi, piece);
            regs->rsi += piece;
        }
        regs->rcx -= piece;
    }
    regs->rip += 2;
    run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
    return 1;
}

// Runs an image in a fresh machine, and returns its status.
static int run_once(int kvm, const char *path, int run_size, int may_collect) {
    int vm = call(kvm, KVM_CREATE_VM, 0);
    call(vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000);
    uint8_t *ram = map(RAM_SIZE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    struct kvm_userspace_memory_region slot = {.memory_size = RAM_SIZE, .userspace_addr = (uintptr_t)ram};
    call(vm, KVM_SET_USER_MEMORY_REGION, &slot);
    int image = open(path, O_RDONLY | O_CLOEXEC);
    if (image < 0 || read(image, ram, RAM_SIZE) <= 0) _exit(125);
    close(image);

    int vcpu = call(vm, KVM_CREATE_VCPU, 0);
    struct kvm_run *run = map(run_size, MAP_SHARED, vcpu);
    struct kvm_sregs sregs;
    call(vcpu, KVM_GET_SREGS, &sregs);
    struct kvm_segment data = {.limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .db = 1,
                               .s = 1, .g = 1};
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cs = data;
    sregs.cs.selector = 8;
    sregs.cs.type = 11;
    sregs.cr0 = 0x11; // PE, ET
    call(vcpu, KVM_SET_SREGS, &sregs);
    struct kvm_regs regs = {.rsp = RAM_SIZE, .rflags = 2};
    call(vcpu, KVM_SET_REGS, &regs);

    struct kvm_coalesced_mmio_ring *ring = NULL;
    int status = 0, exits = 0, in_a_row = 0, enough = 2;
    for (;;) {
        call(vcpu, KVM_RUN, 0);
        if (ring) drain(ring);
        if (run->exit_reason == KVM_EXIT_HLT) break;
        if (run->exit_reason != KVM_EXIT_IO) _exit(134);
        uint8_t *bytes = (uint8_t *)run + run->io.data_offset;
        size_t len = run->io.size * run->io.count;
        if (run->io.direction == KVM_EXIT_IO_IN) {
            in_a_row = 0;
            if (!receive(bytes, len)) break;
            // An exit of the maximum size may be part of a longer `rep insb`.
            if (len == INPUT_PIECE && finish(vcpu, run, ram, 1) < 0) break;
        } else if (run->io.port == EXIT) {
            status = *bytes;
            break;
        } else {
            send(bytes, len);
            if (may_collect && ++exits == EXITS_UNTIL_RING) {
                struct kvm_coalesced_mmio_zone zone = {.addr = CONSOLE, .size = 1, .pio = 1};
                call(vm, KVM_REGISTER_COALESCED_MMIO, &zone);
                ring = (void *)((uint8_t *)run + KVM_COALESCED_MMIO_PAGE_OFFSET * PAGE_SIZE);
            }
            // The check costs as much as two exits, so it is done less often while it finds nothing.
            if (++in_a_row >= enough) {
                enough = finish(vcpu, run, ram, 0) ? 1 : enough < 256 ? enough * 2 : 256;
                in_a_row = 0;
            }
        }
    }
    munmap(run, run_size);
    close(vcpu);
    close(vm);
    munmap(ram, RAM_SIZE);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3) return 2;
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0 || call(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) return 125;
    int run_size = call(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    int may_collect = call(kvm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_COALESCED_PIO) > 0;
    int status = 0;
    for (int runs = argc == 3 ? atoi(argv[2]) : 1; runs > 0; runs--)
        status = run_once(kvm, argv[1], run_size, may_collect);
    flush();
    return status;
}
