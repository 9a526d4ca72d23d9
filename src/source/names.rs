//! Many short names in one allocation.

/// Byte strings by index, 8 bytes each beyond their own length: a `Vec<String>` takes 24 and an allocation.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    /// End of each name in `bytes`.
    ends: Vec<u64>,
}

impl Names {
    /// Adds a name made of `parts`, put together without a separator.
    pub(super) fn push(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len() as u64);
    }

    /// Adds all names of another list.
    pub(super) fn append(&mut self, other: &Self) {
        let base = self.bytes.len() as u64;
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| base + end));
    }

    /// Gives back memory that growth took in advance.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// # Panics
    /// If `index` is not below `len`.
    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start as usize..self.ends[index] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_after_lists_are_joined() {
        let mut names = Names::default();
        names.push(&[b"a", b"/", b"b"]);
        names.push(&[]);
        let mut more = Names::default();
        more.push(&[b"xyz"]);
        names.append(&more);
        assert_eq!(names.len(), 3);
        let all: Vec<&[u8]> = (0..3).map(|index| names.get(index)).collect();
        assert_eq!(all, [b"a/b".as_slice(), b"", b"xyz"]);
    }
}
