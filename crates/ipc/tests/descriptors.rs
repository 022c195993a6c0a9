//! What a receiver does with descriptors that it cannot or will not take. One test, since it changes a limit of its process.

use std::{
    fs::{self, File},
    io::IoSlice,
    os::fd::{AsFd, AsRawFd},
};

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socketpair},
};

use ipc::{Channel, Received};

#[test]
fn descriptors_that_are_not_taken_are_closed_and_their_message_arrives() {
    let file = File::open("/proc/self/comm").unwrap();
    let kind = (AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
    let (ours, theirs) = socketpair(kind.0, kind.1, None, kind.2).unwrap();
    let mut theirs = Channel::new(theirs);
    let open_descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open_descriptors();
    for count in 1..4 {
        let descriptors = vec![file.as_raw_fd(); count];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let message = Channel::encode(&1_u32).unwrap();
        let parts = [IoSlice::new(&message)];
        sendmsg::<UnixAddr>(ours.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).unwrap();
        let received = theirs.receive::<u32>().unwrap();
        assert!(matches!(received, Received::Message(1, Some(_))), "{received:?}");
        drop(received);
        assert_eq!(open_descriptors(), before, "{count} descriptors came");
    }
    let ours = Channel::new(ours);
    ours.send(&Channel::encode(&2_u32).unwrap(), Some(file.as_fd())).unwrap();
    ours.send(&Channel::encode(&3_u32).unwrap(), None).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    let received = [theirs.receive::<u32>(), theirs.receive::<u32>()];
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert!(
        matches!(received, [Ok(Received::Message(2, None)), Ok(Received::Message(3, None))]),
        "{received:?}"
    );
}
