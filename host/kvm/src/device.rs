//! Opens /dev/kvm. Its errors say how to get access.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kvm_bindings::KVM_API_VERSION;
use kvm_ioctls::Kvm;

use flatland_x86::MemorySize;

/// Why KVM cannot run a processor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KvmError {
    /// There is no such device.
    #[error(
        "there is no {0}: KVM needs Linux on a processor with virtualization enabled; load its module with \
         `sudo modprobe kvm-intel` or `sudo modprobe kvm-amd`, or enable nested virtualization if this is \
         itself a virtual machine"
    )]
    Missing(PathBuf),
    /// The user may not open it.
    #[error("no permission to open {device}: {advice}")]
    NoPermission {
        /// The device.
        device: PathBuf,
        /// What to do about it.
        advice: String,
    },
    /// The file is another device than KVM's.
    #[error("{0} is not KVM's device: look at it with `ls -l {0}`")]
    NotKvm(PathBuf),
    /// Another API version: a KVM from before 2007.
    #[error("this kernel's KVM has API version {0}, and only 12 is known: use a kernel of 2.6.22 or later")]
    Version(i32),
    /// There is not enough memory for the guest's RAM.
    #[error("the operating system has no {0} of memory for the machine: give it less")]
    NoMemory(MemorySize),
    /// A call failed.
    #[error("{call} failed ({cause}): look at the kernel's messages with `sudo dmesg | tail`")]
    Call {
        /// The call's name.
        call: &'static str,
        /// The error.
        #[source]
        cause: io::Error,
    },
}

/// Opens the device, and checks that it is KVM.
pub fn open(device: &Path) -> Result<Kvm, KvmError> {
    let path = CString::new(device.as_os_str().as_bytes()).map_err(|_| KvmError::Missing(device.into()))?;
    let kvm = Kvm::new_with_path(path).map_err(|errno| match errno.errno() {
        nix::libc::ENOENT | nix::libc::ENODEV | nix::libc::ENXIO => KvmError::Missing(device.into()),
        nix::libc::EACCES | nix::libc::EPERM => {
            KvmError::NoPermission { device: device.into(), advice: permission_advice(device) }
        }
        _ => KvmError::Call { call: "opening KVM's device", cause: errno.into() },
    })?;
    match kvm.get_api_version() {
        version if version == KVM_API_VERSION as i32 => Ok(kvm),
        version if version < 0 => Err(KvmError::NotKvm(device.into())),
        version => Err(KvmError::Version(version)),
    }
}

/// Advises a user who may not open the device, according to its mode and group.
fn permission_advice(device: &Path) -> String {
    let Ok(metadata) = fs::metadata(device) else {
        return advice(device, 0, None);
    };
    let group = nix::unistd::Group::from_gid(metadata.gid().into()).ok().flatten().map(|group| group.name);
    advice(device, metadata.mode(), group.as_deref())
}

/// Advice on how to get access to a device of this mode and group.
fn advice(device: &Path, mode: u32, group: Option<&str>) -> String {
    const GROUP_READ_WRITE: u32 = 0o060;
    let device = device.display();
    match group {
        Some(group) if mode & GROUP_READ_WRITE == GROUP_READ_WRITE && group != "root" => format!(
            "it is open to group `{group}`; join with `sudo usermod -aG {group} $USER` and log in again"
        ),
        _ => format!(
            "no group has access; give it to group `kvm` with `sudo groupadd -f kvm; sudo chgrp kvm {device}; \
             sudo chmod g+rw {device}`, join with `sudo usermod -aG kvm $USER` and log in again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_named() {
        let error = open(Path::new("/no/such/kvm")).unwrap_err();
        assert!(matches!(&error, KvmError::Missing(path) if path == Path::new("/no/such/kvm")));
        assert!(error.to_string().starts_with("there is no /no/such/kvm: "));
        assert!(error.to_string().contains("sudo modprobe kvm-intel"));
    }

    #[test]
    fn another_device_is_not_taken_for_kvm() {
        let error = open(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error.to_string(), "/dev/null is not KVM's device: look at it with `ls -l /dev/null`");
    }

    #[test]
    fn advice_names_the_group_that_helps() {
        let kvm = Path::new("/dev/kvm");
        let by_group = advice(kvm, 0o20660, Some("kvm"));
        assert!(by_group.contains("sudo usermod -aG kvm $USER"), "{by_group}");
        assert!(!by_group.contains("chmod"), "{by_group}");
        // No advice to join `root`, or a group without permission.
        for (mode, group) in [(0o20600, Some("kvm")), (0o20660, Some("root")), (0o20660, None)] {
            let by_mode = advice(kvm, mode, group);
            assert!(by_mode.contains("sudo chmod g+rw /dev/kvm"), "{by_mode}");
            assert!(by_mode.contains("sudo usermod -aG kvm $USER"), "{by_mode}");
        }
    }
}
