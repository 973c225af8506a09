//! `--sandbox`: from here on this process can do only what its run needs, whatever a guest has made of it.
//!
//! Landlock refuses files by their paths, seccomp refuses system calls. What is refused fails with EACCES or EPERM instead
//! of ending the process: so a call that is missing here costs what asked for it, with a message, and neither the guest's
//! output nor the report.

use std::fmt;
use std::path::PathBuf;

/// What the process is kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// The version of Landlock's interface that is in force, if the kernel has it.
    pub landlock: Option<u32>,
    /// Whether the kernel filters system calls.
    pub has_seccomp: bool,
}

impl Sandbox {
    /// What it lacks, in a sentence.
    pub fn lack(&self) -> Option<String> {
        if cfg!(not(target_os = "linux")) {
            return Some(
                "there is no sandbox on this system: run it on Linux, or leave out --sandbox".into(),
            );
        }
        let lacks = match (self.landlock, self.has_seccomp) {
            (Some(_), true) => return None,
            (None, true) => "keeps this process from no file, because the kernel lacks Landlock",
            (Some(_), false) => "refuses no system call, because the kernel lacks seccomp",
            (None, false) => "does nothing, because the kernel lacks Landlock and seccomp",
        };
        Some(format!(
            "the sandbox {lacks}: use a kernel of Linux 5.13 or later that has it, or leave out --sandbox"
        ))
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.landlock, self.has_seccomp) {
            (Some(abi), true) => write!(f, "sandbox of Landlock (ABI {abi}) and seccomp"),
            (Some(abi), false) => write!(f, "sandbox of Landlock (ABI {abi}) without seccomp"),
            (None, true) => write!(f, "sandbox of seccomp without Landlock"),
            (None, false) => write!(f, "no sandbox"),
        }
    }
}

/// What a run needs although its files are open.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub struct Needs {
    /// Files that are read.
    pub reads: Vec<PathBuf>,
    /// Files that are written, and folders in which files are made.
    pub writes: Vec<PathBuf>,
    /// Folders in which files are renamed and removed.
    pub moves: Vec<PathBuf>,
    /// Whether debuggers connect to a socket that listens.
    pub is_debugged: bool,
}

#[cfg(target_os = "linux")]
pub use linux::enter;

/// There is none on this system.
#[cfg(not(target_os = "linux"))]
pub fn enter(_: &Needs) -> Result<Sandbox, String> {
    Ok(Sandbox::default())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::path::{Path, PathBuf};
    use std::{env, fs, process};

    use landlock::{
        ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
        RulesetError, RulesetStatus, Scope, path_beneath_rules,
    };
    use nix::libc;
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, apply_filter_all_threads,
    };

    use super::{Needs, Sandbox};

    /// Enters the sandbox, before there are other threads: Landlock is of a thread and of those that it starts. Returns what
    /// is in force, as far as the kernel has it. An error is one sentence.
    pub fn enter(needs: &Needs) -> Result<Sandbox, String> {
        let mut needs = needs.clone();
        needs.reads.extend(of_backtraces());
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            format!(
                "cannot enter the sandbox of {what} ({error}): report it, with the kernel's version, and leave out --sandbox"
            )
        };
        let landlock = restrict_files(&needs).map_err(|error| failed("Landlock", &error))?;
        let filters = filters(&needs).map_err(|error| failed("seccomp", &error))?;
        let has_seccomp = match filters.iter().try_for_each(|filter| apply_filter_all_threads(filter)) {
            Ok(()) => true,
            Err(seccompiler::Error::Seccomp(error)) if error.raw_os_error() == Some(libc::EINVAL) => false,
            Err(error) => return Err(failed("seccomp", &error)),
        };
        Ok(Sandbox { landlock, has_seccomp })
    }

    /// The files that the backtrace of a panic of this program is read from, if one is asked for.
    fn of_backtraces() -> Vec<PathBuf> {
        if env::var_os("RUST_BACKTRACE").is_none_or(|value| value == "0") {
            return Vec::new();
        }
        let maps = Path::new("/proc/self/maps");
        let text = fs::read_to_string(maps).unwrap_or_default();
        let mapped = text.lines().filter_map(|line| Some(line[line.find('/')?..].into()));
        let mut files: Vec<PathBuf> = mapped.chain([maps.into()]).collect();
        files.sort();
        files.dedup();
        files
    }

    /// Refuses all files but those of the run, and the network. Returns the version of the interface that does that, if the
    /// kernel has it.
    fn restrict_files(needs: &Needs) -> Result<Option<u32>, RulesetError> {
        // What a later kernel knows in addition is refused there, and what this one does not know is not.
        let abi = ABI::V6;
        let writes = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg;
        let moves = AccessFs::RemoveFile | AccessFs::MakeReg;
        let reads: BitFlags<AccessFs> = AccessFs::ReadFile.into();
        let restricted = Ruleset::default()
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            .scope(Scope::from_all(abi))?
            .create()?
            .add_rules(path_beneath_rules(&needs.reads, reads))?
            .add_rules(path_beneath_rules(&needs.writes, writes))?
            .add_rules(path_beneath_rules(&needs.moves, moves))?
            .restrict_self()?;
        match (restricted.ruleset, restricted.landlock) {
            (RulesetStatus::NotEnforced, _) => Ok(None),
            (_, LandlockStatus::Available { effective_abi, .. }) => Ok(Some(effective_abi.min(abi) as u32)),
            _ => Ok(None),
        }
    }

    /// The filters of system calls. All of them must allow a call.
    fn filters(needs: &Needs) -> Result<[BpfProgram; 2], seccompiler::BackendError> {
        let arch = env::consts::ARCH.try_into()?;
        let refused = SeccompAction::Errno(libc::EPERM as u32);
        let allowed = SeccompFilter::new(allowed(needs)?, refused, SeccompAction::Allow, arch)?;
        // Its flags lie in memory, where no filter sees them. The C library takes `clone` instead.
        let missing = SeccompAction::Errno(libc::ENOSYS as u32);
        let not_there = [(libc::SYS_clone3, Vec::new())].into();
        let not_there = SeccompFilter::new(not_there, SeccompAction::Allow, missing, arch)?;
        // The second one refuses to install any more.
        Ok([not_there.try_into()?, allowed.try_into()?])
    }

    type Rules = std::collections::BTreeMap<i64, Vec<SeccompRule>>;

    /// The calls that are allowed. A call with rules is allowed if one of them holds.
    fn allowed(needs: &Needs) -> Result<Rules, seccompiler::BackendError> {
        let mut rules: Rules = ALWAYS.iter().map(|call| (*call, Vec::new())).collect();
        if needs.is_debugged {
            rules.extend(OF_SOCKETS.iter().map(|call| (*call, Vec::new())));
        }
        if !needs.reads.is_empty() || !needs.writes.is_empty() {
            rules.extend(OF_OPENING.iter().map(|call| (*call, Vec::new())));
        }
        if !needs.moves.is_empty() {
            rules.extend(OF_MOVING.iter().map(|call| (*call, Vec::new())));
        }
        let is = |argument, mask: u64, value: u64| {
            let operation = match mask {
                u64::MAX => SeccompCmpOp::Eq,
                mask => SeccompCmpOp::MaskedEq(mask),
            };
            SeccompRule::new(vec![SeccompCondition::new(
                argument,
                SeccompCmpArgLen::Dword,
                operation,
                value,
            )?])
        };
        let one_of = |argument, values: &[u64]| {
            values.iter().map(|value| is(argument, u64::MAX, *value)).collect::<Result<Vec<_>, _>>()
        };
        // No new code.
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            rules.insert(call, vec![is(2, libc::PROT_EXEC as u64, 0)?]);
        }
        // Threads, and no processes.
        let thread = libc::CLONE_THREAD as u64;
        rules.insert(libc::SYS_clone, vec![is(0, thread, thread)?]);
        // Signals to this process only.
        rules.insert(libc::SYS_tgkill, one_of(0, &[process::id().into()])?);
        // KVM's requests, and what is asked of a terminal. Above all not TIOCSTI, which types into the shell.
        let mut requests =
            one_of(1, &[libc::TCGETS, libc::TIOCGWINSZ, libc::FIONREAD, libc::FIONBIO].map(u64::from))?;
        requests.push(is(1, 0xff00, KVM << 8)?);
        rules.insert(libc::SYS_ioctl, requests);
        let commands = [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_DUPFD_CLOEXEC];
        rules.insert(libc::SYS_fcntl, one_of(1, &commands.map(|command| command as u64))?);
        rules.insert(libc::SYS_prctl, one_of(0, &[libc::PR_SET_NAME as u64])?);
        Ok(rules)
    }

    /// The letter of KVM's requests (KVM API, section 4).
    const KVM: u64 = 0xae;

    /// What any run needs.
    const ALWAYS: &[i64] = &[
        // Files that are open.
        libc::SYS_close,
        libc::SYS_fdatasync,
        libc::SYS_flock,
        libc::SYS_fstat,
        libc::SYS_fsync,
        libc::SYS_ftruncate,
        libc::SYS_lseek,
        libc::SYS_pread64,
        libc::SYS_preadv2,
        libc::SYS_pwrite64,
        libc::SYS_pwritev2,
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_write,
        libc::SYS_writev,
        // What is known of a file or folder by its path, which Landlock does not restrict. It tells what is there, and
        // nothing of what is in it.
        libc::SYS_getcwd,
        libc::SYS_newfstatat,
        libc::SYS_readlinkat,
        libc::SYS_statx,
        // Waiting.
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_eventfd2,
        libc::SYS_futex,
        libc::SYS_nanosleep,
        libc::SYS_ppoll,
        libc::SYS_restart_syscall,
        libc::SYS_sched_yield,
        libc::SYS_timer_create,
        libc::SYS_timer_delete,
        libc::SYS_timer_gettime,
        libc::SYS_timer_settime,
        // Memory.
        libc::SYS_brk,
        libc::SYS_madvise,
        libc::SYS_memfd_create,
        libc::SYS_mremap,
        libc::SYS_munmap,
        // Threads and signals.
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_rseq,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigtimedwait,
        libc::SYS_sched_getaffinity,
        libc::SYS_set_robust_list,
        libc::SYS_sigaltstack,
        // The other filter has the last word on it.
        libc::SYS_clone3,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_readlink,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_stat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_lstat,
    ];

    /// To a debugger that connects. No socket is made or connected.
    const OF_SOCKETS: &[i64] = &[
        libc::SYS_accept4,
        libc::SYS_getpeername,
        libc::SYS_getsockname,
        libc::SYS_getsockopt,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_setsockopt,
        libc::SYS_shutdown,
    ];

    /// A folder that is made although it is there must be told so; Landlock refuses any other one.
    const OF_OPENING: &[i64] = &[
        libc::SYS_mkdirat,
        libc::SYS_openat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mkdir,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open,
    ];

    const OF_MOVING: &[i64] = &[
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_unlinkat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_unlink,
    ];
}
