//! Offsets of functions in a C library, from its dynamic symbol table.

use std::{fs::File, io::Read};

use object::{
    Endianness,
    elf::{EM_X86_64, FileHeader64, STT_FUNC},
    read::elf::{FileHeader, ProgramHeader, Sym},
};

/// The largest file that is read. The C libraries of all distributions are smaller than a tenth of it.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// A library with more functions of the given names is refused. Each name may have two versions.
const MAX_FUNCTIONS: usize = 6;

/// Finds the functions that a library exports under one of these names: the index in `names`, and the offset of the function
/// from the beginning of the file, in bytes, which is in an executable segment. Empty for a file that is no library for x86-64.
pub fn function_offsets(library: &mut File, names: &[&str]) -> Vec<(usize, u64)> {
    read_file(library, names).unwrap_or_default()
}

fn read_file(library: &mut File, names: &[&str]) -> Option<Vec<(usize, u64)>> {
    let metadata = library.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    library.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    function_offsets_in(&bytes, names)
}

/// Like [`function_offsets`], for the bytes of the file. `None` if they cannot be parsed.
pub fn function_offsets_in(bytes: &[u8], names: &[&str]) -> Option<Vec<(usize, u64)>> {
    let header = FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    if header.e_machine(endian) != EM_X86_64 {
        return None;
    }
    let segments = header.program_headers(endian, bytes).ok()?;
    let sections = header.sections(endian, bytes).ok()?;
    let table = sections.symbols(endian, bytes, object::elf::SHT_DYNSYM).ok()?;
    let mut found = Vec::new();
    for symbol in table.iter() {
        if symbol.is_undefined(endian) || symbol.st_type() != STT_FUNC {
            continue;
        }
        let Ok(name) = table.symbol_name(endian, symbol) else { continue };
        let Some(at) = names.iter().position(|candidate| candidate.as_bytes() == name) else { continue };
        let address = symbol.st_value(endian);
        let offset = segments.iter().find_map(|segment| {
            let within = address.checked_sub(segment.p_vaddr(endian))?;
            (segment.p_type(endian) == object::elf::PT_LOAD
                && segment.p_flags(endian).0 & object::elf::PF_X.0 != 0
                && within < segment.p_filesz(endian))
            .then(|| segment.p_offset(endian).checked_add(within))?
        });
        // Several versions of a symbol may be one function.
        found.extend(offset.map(|offset| (at, offset)).filter(|function| !found.contains(function)));
        if found.len() > MAX_FUNCTIONS {
            return None;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_the_installed_c_library_are_found() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let path = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
        let path =
            path.into_iter().find(|path| path.contains("/libc.so") || path.contains("/libc-")).unwrap();
        let found = function_offsets(
            &mut File::open(path).unwrap(),
            &["getaddrinfo", "gethostbyname_r", "no_such_function"],
        );
        assert!(
            [0, 1].iter().all(|expected| found.iter().any(|(at, offset)| at == expected && *offset > 0)),
            "{found:?}"
        );
        assert!(!found.iter().any(|(at, _)| *at == 2));
    }

    #[test]
    fn a_file_that_is_no_library_has_no_functions() {
        for bytes in [&b""[..], b"\x7fELF", &[0x7f; 4096], b"#!/bin/sh\n"] {
            assert_eq!(function_offsets_in(bytes, &["getaddrinfo"]), None);
        }
        let mut cut = std::fs::read("/proc/self/exe").unwrap();
        cut.truncate(4096);
        assert!(function_offsets_in(&cut, &["getaddrinfo"]).is_none_or(|found| found.is_empty()));
    }
}
