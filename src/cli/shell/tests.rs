//! The shell without a server: what it says before it could ask one. (With one: `tests/clients`.)

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use super::*;

/// A writer whose text can be read.
#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.lock().expect("no panic"))).expect("text")
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A shell whose server is not there, its output and its errors.
fn shell() -> (Shell, Text, Text) {
    let (out, err) = (Text::default(), Text::default());
    let screen = Arc::new(Screen::new(Box::new(out.clone()), Box::new(err.clone())));
    // Port 9 of the loopback interface: nobody listens there on the machines we know; with or without, no ZooKeeper answers.
    let invocation = Invocation::parse(&["-server".to_owned(), "127.0.0.1:9".to_owned()]).expect("good");
    (Shell::start(invocation, screen).expect("a thread"), out, err)
}

#[test]
fn mistakes_are_told_in_zkclis_words() {
    let (mut shell, out, err) = shell();
    for (line, complaint) in [
        ("create", "create [-s] [-e] [-c] [-t ttl] path [data] [acl]\n"),
        ("create a", "Path must start with / character\n"),
        ("create -e -c /x", "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.\n"),
        ("create -t 0 /x", "ttl must be positive and cannot be larger than: 1099511627775\n"),
        ("delete -v x /a", "-v must be followed by a number, not by \"x\"\n"),
        ("get /a/../b", "Invalid path string \"/a/../b\" caused by relative paths not allowed @4\n"),
        ("get -q /a", "Unrecognized option: -q\n"),
        ("set -b /a *", "the data is not base64: Invalid symbol 42, offset 0.\n"),
        ("setquota -n 0 /a", "the num quota must be greater than zero\n"),
        (
            "setquota -n 1 -b 2 /a",
            "The option 'b' was specified but an option from this group has already been selected: 'n'\n",
        ),
        (
            "reconfig -add 1 -members 2",
            "Can't use -file or -members together with -add or -remove (mixing incremental and non-incremental modes is not allowed)\n",
        ),
        ("removewatches /a", "KeeperErrorCode = No such watcher for /a\n"),
        ("redo 99", "Command index out of range\n"),
        ("get /a", "KeeperErrorCode = ConnectionLoss for /a\n"),
    ] {
        shell.take_line(line);
        assert_eq!(err.take(), complaint, "{line}");
        assert_eq!(shell.last, Ending::Failed, "{line}");
    }
    assert_eq!(out.take(), "");
}

#[test]
fn history_and_redo() {
    let (mut shell, out, err) = shell();
    for line in ["version", "printwatches off", "printwatches", "", "redo 0", "redo 3", "history"] {
        shell.take_line(line);
    }
    let version = format!("ZooKeeper CLI version: zoo-server {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        out.take(),
        format!(
            "{version}printwatches is off\n{version}{version}0 - version\n1 - printwatches off\n2 - printwatches\n\
             3 - version\n4 - version\n5 - history\n"
        )
    );
    assert_eq!(err.take(), "");
    shell.take_line("quit");
    assert!(shell.is_over);
}

#[test]
fn unknown_commands_list_the_known() {
    let (mut shell, _, err) = shell();
    shell.take_line("foo");
    assert_eq!(shell.last, Ending::Unknown);
    let complaint = err.take();
    assert!(complaint.ends_with("\nCommand not found foo\n"), "{complaint}");
    for command in COMMANDS {
        assert!(complaint.contains(&format!("\t{}", command.usage())), "{}", command.name);
    }
    shell.take_line("close");
    shell.take_line("ls /");
    assert_eq!(err.take(), "Not connected\n");
}
