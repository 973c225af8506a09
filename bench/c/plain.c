// The plain monitor: the least C that runs a flat image on KVM, as the exercise of 2011 did it.
//
//     plain IMAGE [RUNS]
//
// It makes the same KVM calls as flatland before the first instruction. Then it handles one exit per byte, with
// getchar and fwrite. With RUNS, it runs that many fresh machines, one after another. It omits checks that a correct
// image on a working KVM does not need. `cargo xtask bench` compiles it. Its times are the baseline for all others.

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM_SIZE (16 << 20)
#define PAGE_ADDRESS 0xfd000000u
#define PAGE_SIZE 4096

static int call(int fd, unsigned long request, void *argument, const char *name) {
    int result = ioctl(fd, request, argument);
    if (result < 0) {
        perror(name);
        exit(125);
    }
    return result;
}

static void *map(int size, int protection, int flags, int fd) {
    void *address = mmap(NULL, size, protection, flags, fd, 0);
    if (address == MAP_FAILED) {
        perror("mmap");
        exit(125);
    }
    return address;
}

// Runs an image in a fresh machine, and returns its status.
static int run_once(int kvm, const char *path) {
    int vm = call(kvm, KVM_CREATE_VM, 0, "KVM_CREATE_VM");
    call(vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000, "KVM_SET_TSS_ADDR");

    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    uint8_t *ram = map(RAM_SIZE, PROT_READ | PROT_WRITE, flags, -1);
    uint8_t *page = map(PAGE_SIZE, PROT_READ | PROT_WRITE, flags, -1);
    page[0] = 0; // flatland fills such a page with its exception handlers
    struct kvm_userspace_memory_region slots[2] = {
        {.slot = 0, .guest_phys_addr = 0, .memory_size = RAM_SIZE, .userspace_addr = (uintptr_t)ram},
        {.slot = 1, .flags = KVM_MEM_READONLY, .guest_phys_addr = PAGE_ADDRESS, .memory_size = PAGE_SIZE,
         .userspace_addr = (uintptr_t)page},
    };
    call(vm, KVM_SET_USER_MEMORY_REGION, &slots[0], "KVM_SET_USER_MEMORY_REGION");
    call(vm, KVM_SET_USER_MEMORY_REGION, &slots[1], "KVM_SET_USER_MEMORY_REGION");

    int image = open(path, O_RDONLY | O_CLOEXEC);
    if (image < 0 || read(image, ram, RAM_SIZE) <= 0) {
        perror(path);
        exit(125);
    }
    close(image);

    int vcpu = call(vm, KVM_CREATE_VCPU, 0, "KVM_CREATE_VCPU");
    int run_size = call(kvm, KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE");
    struct kvm_run *run = map(run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu);
    struct kvm_sregs sregs;
    call(vcpu, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
    struct kvm_segment data = {.limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .db = 1,
                               .s = 1, .g = 1};
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cs = data;
    sregs.cs.selector = 8;
    sregs.cs.type = 11;
    sregs.cr0 = 0x11; // PE, ET
    call(vcpu, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
    struct kvm_regs regs = {.rip = 0, .rsp = RAM_SIZE, .rflags = 2};
    call(vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");

    int status = 0;
    for (;;) {
        call(vcpu, KVM_RUN, 0, "KVM_RUN");
        if (run->exit_reason == KVM_EXIT_HLT) {
            // flatland reads the registers, too, to tell the guest's own hlt from an exception.
            call(vcpu, KVM_GET_REGS, &regs, "KVM_GET_REGS");
            break;
        }
        if (run->exit_reason != KVM_EXIT_IO) {
            fprintf(stderr, "exit %u\n", run->exit_reason);
            exit(134);
        }
        uint8_t *bytes = (uint8_t *)run + run->io.data_offset;
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            if (run->io.port == 0xf4) {
                status = *bytes;
                break;
            }
            fwrite(bytes, run->io.size, run->io.count, stdout);
        } else {
            for (unsigned i = 0; i < run->io.count; i++) {
                int byte = getchar();
                if (byte == EOF) goto end;
                bytes[i] = byte;
            }
        }
    }
end:
    munmap(run, run_size);
    close(vcpu);
    close(vm);
    munmap(page, PAGE_SIZE);
    munmap(ram, RAM_SIZE);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3) return 2;
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) {
        perror("/dev/kvm");
        return 125;
    }
    if (call(kvm, KVM_GET_API_VERSION, 0, "KVM_GET_API_VERSION") != KVM_API_VERSION) return 125;
    int status = 0;
    for (int runs = argc == 3 ? atoi(argv[2]) : 1; runs > 0; runs--) status = run_once(kvm, argv[1]);
    return fflush(stdout) ? 125 : status;
}
