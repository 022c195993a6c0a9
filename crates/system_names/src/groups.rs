//! Groups and their members, from `/etc/group` and `/etc/passwd`: getgrgid(3) would load NSS modules at run time.

use std::fs;

use crate::Users;

/// The groups of `/etc/group`.
#[derive(Clone, Debug, Default)]
pub struct Groups(Vec<Group>);

#[derive(Clone, Debug)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

impl Groups {
    /// Reads `/etc/group`; there are none if that fails.
    pub fn load() -> Self {
        Self::from_group(&fs::read_to_string("/etc/group").unwrap_or_default())
    }

    /// Reads the text of a group file (group(5)).
    pub fn from_group(text: &str) -> Self {
        let group = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            let gid = fields.nth(1)?.parse().ok()?;
            let members = fields.next().unwrap_or_default().split(',').map(|member| member.trim().to_owned());
            Some(Group { name, gid, members: members.filter(|member| !member.is_empty()).collect() })
        };
        Self(text.lines().filter_map(group).collect())
    }

    /// The name of a group.
    pub fn name(&self, gid: u32) -> Option<&str> {
        self.0.iter().find(|group| group.gid == gid).map(|group| &*group.name)
    }

    /// The number of a group.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.0.iter().find(|group| group.name == name).map(|group| group.gid)
    }

    /// Whether there are none, because the file could not be read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The user ids of the members: those that the group lists, and those whose own group it is.
    pub fn members(&self, gid: u32, users: &Users) -> Vec<u32> {
        let groups = self.0.iter().filter(|group| group.gid == gid);
        let ids = groups.flat_map(|group| &group.members).filter_map(|name| users.id(name));
        let mut ids: Vec<u32> =
            ids.chain(users.of_group(gid)).filter_map(|id| u32::try_from(id).ok()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_the_number_of_their_group() {
        let users = Users::from_passwd("anna:x:1000:1000::/home/anna:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n");
        let groups =
            Groups::from_group("root:x:0:\npicosnitch:x:970:anna, bob,ghost\nbroken\nusers:x:no:anna\n");
        assert_eq!(groups.name(970), Some("picosnitch"));
        assert_eq!(groups.name(1), None);
        assert_eq!((groups.id("picosnitch"), groups.id("ghost")), (Some(970), None));
        assert_eq!(groups.members(970, &users), [1000, 1001]);
        // A user's own group does not list the user.
        assert_eq!(groups.members(1001, &users), [1001]);
        assert_eq!(groups.members(0, &users), [0; 0]);
    }
}
