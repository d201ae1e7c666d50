//! The order in which a `java.util.HashMap` with whole numbers as keys lists its entries.
//!
//! Apache's text of a configuration lists the members in that order: 1, 2, 3 for small numbers, but 17 before 2 among three
//! servers. Where two numbers fall into one bucket of the table, Java lists the one that was put in first; which that was
//! depends on all the lines of a zoo.cfg, so here it is the smaller one. Nothing depends on it but the look of the text: each
//! server reads it into a map.

/// The table's size before anything is put in.
const TABLE_MIN: usize = 16;
/// A bucket that grows past so many entries makes a table of fewer than `TREE_TABLE_MIN` buckets double.
const BUCKET_MAX: usize = 8;
const TREE_TABLE_MIN: usize = 64;

fn hash(key: i64) -> usize {
    let bits = key.cast_unsigned();
    let folded = (bits ^ bits >> 32) as u32;
    (folded ^ folded >> 16) as usize
}

/// `keys`, ascending and each once, in the order of a HashMap into which they were put one after another.
pub(super) fn java_order(keys: impl IntoIterator<Item = i64>) -> Vec<i64> {
    let keys: Vec<_> = keys.into_iter().collect();
    debug_assert!(keys.is_sorted());
    let mut table = TABLE_MIN;
    for (index, &key) in keys.iter().enumerate() {
        let bucket = hash(key) & (table - 1);
        let before = keys[..index].iter().filter(|other| hash(**other) & (table - 1) == bucket).count();
        if before >= BUCKET_MAX && table < TREE_TABLE_MIN {
            table *= 2;
        }
        if index + 1 > table / 4 * 3 {
            table *= 2;
        }
    }
    let mut ordered = keys;
    ordered.sort_by_key(|key| hash(*key) & (table - 1));
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Orders printed by Java 17's HashMap (see `membership::tests` for whole texts).
    #[test]
    fn as_java_lists_them() {
        assert!(java_order([]).is_empty());
        assert_eq!(java_order([1, 2, 3]), [1, 2, 3]);
        assert_eq!(java_order([2, 3, 17, 100]), [17, 2, 3, 100]);
        assert_eq!(java_order([15, 16, 31, 32]), [16, 32, 15, 31]);
        // The thirteenth entry makes the table 32 wide.
        assert_eq!(java_order([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16]), [16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(
            java_order([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16]),
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16]
        );
    }
}
