//! Which core the interrupts of a disk come to.
//!
//! A disk with one hardware queue (virtio-blk without multi-queue, old controllers) has one interrupt, and that has one core. A thread
//! that waits for the disk on another core is woken twice: the interrupt wakes its core, and that core wakes the thread's. On
//! this project's machine (2 cores, virtual) that is 20 to 30 us for each of the two commands of a durable write. Disks with a
//! queue for each core (most NVMe) interrupt the core that asked: for them there is nothing to choose.
//!
//! All of it is from /sys and /proc; where they do not say, there is no answer. An answer may be wrong later (`irqbalance`): then the
//! wake-ups cost what they cost anywhere else.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How many layers (device mapper, software RAID) are looked through, and how far above a disk its controller is looked for.
const DEPTH_MAX: usize = 4;

/// The one core to which the interrupts of `folder`'s disk come, if there is one. The folder need not be there yet.
pub fn core_of_disk(folder: &Path) -> Option<usize> {
    let there = folder.ancestors().find(|folder| folder.as_os_str().is_empty() || folder.exists())?;
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    Places { sys: Path::new("/sys"), proc: Path::new("/proc") }.core_of_device(fs::metadata(there).ok()?.dev())
}

/// Where the kernel tells.
struct Places<'a> {
    sys: &'a Path,
    proc: &'a Path,
}

impl Places<'_> {
    fn core_of_device(&self, device: u64) -> Option<usize> {
        let number = format!("{}:{}", libc::major(device), libc::minor(device));
        let disk = with_queues(self.sys.join("dev/block").join(number).canonicalize().ok()?)?;
        if entries(&disk.join("mq"))?.len() != 1 {
            return None;
        }
        let controller = disk.join("device").canonicalize().ok()?;
        let mut above = controller.ancestors().take(DEPTH_MAX);
        let interrupts = above.find_map(|device| entries(&device.join("msi_irqs")))?;
        let interrupts =
            interrupts.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect::<Vec<_>>();
        let counts = fs::read_to_string(self.proc.join("interrupts")).ok()?;
        let interrupt = busiest(&counts, &interrupts)?;
        let core = self.proc.join("irq").join(interrupt.to_string()).join("effective_affinity_list");
        fs::read_to_string(core).ok()?.trim().parse().ok()
    }
}

/// The disk that a block device is on: itself, the whole that it is a part of, or the only one below it.
fn with_queues(mut device: PathBuf) -> Option<PathBuf> {
    for _ in 0..DEPTH_MAX {
        if device.join("mq").is_dir() {
            return Some(device);
        }
        let below = entries(&device.join("slaves")).unwrap_or_default();
        device = match &below[..] {
            [one] => one.canonicalize().ok()?,
            [] => device.parent()?.to_owned(),
            _ => return None,
        };
    }
    None
}

fn entries(folder: &Path) -> Option<Vec<PathBuf>> {
    fs::read_dir(folder).ok()?.map(|entry| entry.map(|entry| entry.path()).ok()).collect()
}

/// Which of these interrupts has come most often: a controller's others are for its configuration. `None` if none ever came.
fn busiest(interrupts: &str, which: &[u32]) -> Option<u32> {
    let counted = interrupts.lines().filter_map(|line| {
        let (number, counts) = line.split_once(':')?;
        let number = number.trim().parse().ok().filter(|number| which.contains(number))?;
        let counts = counts.split_whitespace().map_while(|count| count.parse::<u64>().ok());
        Some((counts.sum::<u64>(), number))
    });
    counted.filter(|&(count, _)| count > 0).max().map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const COUNTS: &str = "           CPU0       CPU1
 28:          7          0  PCI-MSIX-0000:00:01.0   0-edge      virtio0-config
 35:          0          1  PCI-MSIX-0000:00:02.0   0-edge      virtio1-config
 36:          0   25168833  PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0
NMI:          0          0  Non-maskable interrupts
";

    /// A machine with a disk 254:0, its first part 254:1, and a device mapper's 253:0 on that part.
    fn machine(queues: usize) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| fs::create_dir_all(root.path().join(path)).unwrap();
        let link = |target: &str, path: &str| symlink(root.path().join(target), root.path().join(path)).unwrap();
        let controller = "sys/devices/pci0/0000:00:02.0";
        let disk = format!("{controller}/virtio1/block/vda");
        (0..queues).for_each(|queue| make(&format!("{disk}/mq/{queue}")));
        make(&format!("{disk}/vda1"));
        make(&format!("{disk}/slaves"));
        ["35", "36"].into_iter().for_each(|irq| make(&format!("{controller}/msi_irqs/{irq}")));
        link(&format!("{controller}/virtio1"), &format!("{disk}/device"));
        make("sys/devices/virtual/block/dm-0/slaves");
        link(&format!("{disk}/vda1"), "sys/devices/virtual/block/dm-0/slaves/vda1");
        make("sys/dev/block");
        link(&disk, "sys/dev/block/254:0");
        link(&format!("{disk}/vda1"), "sys/dev/block/254:1");
        link("sys/devices/virtual/block/dm-0", "sys/dev/block/253:0");
        make("proc/irq/36");
        fs::write(root.path().join("proc/interrupts"), COUNTS).unwrap();
        fs::write(root.path().join("proc/irq/36/effective_affinity_list"), "1\n").unwrap();
        root
    }

    fn core(root: &tempfile::TempDir, device: (u32, u32)) -> Option<usize> {
        let (sys, proc) = (root.path().join("sys"), root.path().join("proc"));
        Places { sys: &sys, proc: &proc }.core_of_device(libc::makedev(device.0, device.1))
    }

    #[test]
    fn the_core_of_a_disk_with_one_queue() {
        let root = machine(1);
        assert_eq!(core(&root, (254, 0)), Some(1), "the disk");
        assert_eq!(core(&root, (254, 1)), Some(1), "a part of it");
        assert_eq!(core(&root, (253, 0)), Some(1), "what lies on that part alone");
        assert_eq!(core(&root, (9, 0)), None, "no such device");
        fs::write(root.path().join("proc/irq/36/effective_affinity_list"), "0-1\n").unwrap();
        assert_eq!(core(&root, (254, 0)), None, "not one core");
    }

    #[test]
    fn where_there_is_nothing_to_choose() {
        assert_eq!(core(&machine(2), (254, 0)), None, "a queue for each core");
        let root = machine(1);
        let other = root.path().join("sys/devices/virtual/block/dm-0/slaves/vdb1");
        symlink(root.path().join("sys/dev/block/254:0"), other).unwrap();
        assert_eq!(core(&root, (253, 0)), None, "two disks");
    }

    #[test]
    fn the_busiest_interrupt() {
        assert_eq!(busiest(COUNTS, &[35, 36]), Some(36));
        assert_eq!(busiest(COUNTS, &[35]), Some(35));
        assert_eq!(busiest(&COUNTS.replace("25168833", "0").replace('1', "0"), &[36]), None);
        assert_eq!(busiest("", &[36]), None);
    }

    #[test]
    fn this_machine_answers_for_folders_that_are_not_there_yet() {
        let cores = std::thread::available_parallelism().unwrap().get().max(4096);
        let here = core_of_disk(Path::new("."));
        assert!(here.is_none_or(|core| core < cores), "{here:?}");
        assert_eq!(core_of_disk(Path::new("not/there")), here);
    }
}
