//! Executables of a few machine instructions, which live for less than a millisecond, need no libraries, and are cheap to make
//! in thousands of different versions.

use std::net::SocketAddrV4;

/// The action of an executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connects with TCP, sends some bytes, waits, and exits.
    Send {
        /// The address of the server.
        to: SocketAddrV4,
        /// Number of bytes, at most 4,096.
        bytes: u16,
        /// Seconds to wait before the exit, at most 127.
        linger: u8,
    },
    /// Exits at once without any traffic.
    Exit,
}

/// Makes an ELF executable for x86-64. Executables with different `salt` have different digests. `None` on other architectures.
pub fn elf(action: Action, salt: u64) -> Option<Vec<u8>> {
    cfg!(target_arch = "x86_64").then(|| elf_file(&machine_code(action), salt))
}

/// Address at which the file is mapped.
const BASE: u64 = 0x40_0000;
/// Length of both headers; the code follows them.
const HEADER_BYTES: u64 = 64 + 56;

/// Adds the ELF header and one program header (elf(5)) to the code.
fn elf_file(code: &[u8], salt: u64) -> Vec<u8> {
    let size = HEADER_BYTES + code.len() as u64 + 8;
    let mut file = Vec::new();
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // ET_EXEC, EM_X86_64, EV_CURRENT.
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    // Entry; offsets of program and section headers.
    [BASE + HEADER_BYTES, 64, 0].iter().for_each(|number: &u64| file.extend(number.to_le_bytes()));
    // Flags; sizes and numbers of headers.
    file.extend([0; 4]);
    [64_u16, 56, 1, 0, 0, 0].iter().for_each(|number| file.extend(number.to_le_bytes()));
    // PT_LOAD, readable and executable.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    // Offset, addresses, sizes, alignment.
    [0, BASE, BASE, size, size, 0x1000].iter().for_each(|number: &u64| file.extend(number.to_le_bytes()));
    file.extend(code);
    file.extend(salt.to_le_bytes());
    file
}

/// Makes the code. Numbers of system calls (arch/x86/entry/syscalls/syscall_64.tbl): socket 41, connect 42, write 1,
/// nanosleep 35, exit_group 231.
fn machine_code(action: Action) -> Vec<u8> {
    let mut code = Vec::new();
    if let Action::Send { to, bytes, linger } = action {
        // socket(AF_INET, SOCK_STREAM, 0): mov edi, 2; mov esi, 1; xor edx, edx; mov eax, 41; syscall; mov ebx, eax
        code.extend(b"\xbf\x02\0\0\0\xbe\x01\0\0\0\x31\xd2\xb8\x29\0\0\0\x0f\x05\x89\xc3");
        // The address on the stack (struct sockaddr_in): push 0; mov rax, ...; push rax
        code.extend(b"\x6a\0\x48\xb8\x02\0");
        code.extend(to.port().to_be_bytes());
        code.extend(to.ip().octets());
        code.push(0x50);
        // connect(ebx, rsp, 16): mov edi, ebx; mov rsi, rsp; mov edx, 16; mov eax, 42; syscall
        code.extend(b"\x89\xdf\x48\x89\xe6\xba\x10\0\0\0\xb8\x2a\0\0\0\x0f\x05");
        // write(ebx, the image, bytes): mov edi, ebx; mov esi, BASE; mov edx, bytes; mov eax, 1; syscall
        code.extend(b"\x89\xdf\xbe");
        code.extend((BASE as u32).to_le_bytes());
        code.push(0xba);
        code.extend(u32::from(bytes.min(4096)).to_le_bytes());
        code.extend(b"\xb8\x01\0\0\0\x0f\x05");
        if linger > 0 {
            // nanosleep({linger, 0}, NULL): push 0; push linger; mov rdi, rsp; xor esi, esi; mov eax, 35; syscall
            code.extend([0x6a, 0, 0x6a, linger.min(127)]);
            code.extend(b"\x48\x89\xe7\x31\xf6\xb8\x23\0\0\0\x0f\x05");
        }
    }
    // exit_group(0): xor edi, edi; mov eax, 231; syscall
    code.extend(b"\x31\xff\xb8\xe7\0\0\0\x0f\x05");
    code
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use std::{
        fs,
        io::Read,
        net::{SocketAddr, TcpListener},
        os::unix::fs::PermissionsExt,
        process::Command,
    };

    use super::*;

    #[test]
    fn an_executable_runs_and_sends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(to) = listener.local_addr().unwrap() else { panic!() };
        let directory = tempfile::tempdir().unwrap();
        let begin = std::time::Instant::now();
        for (salt, action) in [(1, Action::Exit), (2, Action::Send { to, bytes: 64, linger: 1 })] {
            let path = directory.path().join(salt.to_string());
            fs::write(&path, elf(action, salt).unwrap()).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            assert!(Command::new(path).status().unwrap().success());
        }
        let mut sent = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut sent).unwrap();
        assert!(begin.elapsed() >= std::time::Duration::from_secs(1));
        assert_eq!(sent.len(), 64);
        assert_eq!(&sent[..4], b"\x7fELF");
    }

    #[test]
    fn another_salt_makes_another_executable() {
        assert_ne!(elf(Action::Exit, 1), elf(Action::Exit, 2));
    }
}
