"""What the figures were measured on, as they mean little without it."""

import os
import platform
import re
import subprocess

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))


def _said(*command):
    """What a command prints, or "" where it is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _processor():
    cpu = _read("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", cpu, re.MULTILINE)
    return found.group(1) if found else platform.processor() or platform.machine()


def _disk(folder):
    """The file system and the device below a folder."""
    told = _said("findmnt", "-n", "-o", "FSTYPE,SOURCE,OPTIONS", "-T", folder).split(None, 2)
    kind, source, options = (told + ["?"] * 3)[:3]
    name = os.path.basename(_said("lsblk", "-n", "-o", "PKNAME", source).split("\n")[0] or os.path.realpath(source))
    queue = f"/sys/block/{name}/queue"
    scheduler = re.search(r"\[(.+)\]", _read(f"{queue}/scheduler"))
    cache = _read(f"{queue}/write_cache").strip() or "?"
    return {
        "file_system": kind,
        "device": source,
        "mount_options": options,
        "scheduler": scheduler.group(1) if scheduler else "?",
        "write_cache": cache,
    }


def describe(folder, server_binary):
    """All that is known, as a dictionary for the JSON."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "virtual": _said("systemd-detect-virt") or ("yes" if "hypervisor" in _read("/proc/cpuinfo") else "no"),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "disk": _disk(folder),
        "kernel": platform.release(),
        "java": _java(),
        "apache": _said("dpkg-query", "-W", "-f", "${Version}", "zookeeper") or "?",
        "zoo_server": _said(server_binary, "--version") or "?",
        "commit": _said("git", "-C", ROOT, "describe", "--always", "--dirty"),
        "rustc": _said("rustc", "--version"),
        "fio": _said("fio", "--version"),
        "load_average_at_start": os.getloadavg()[0],
        "is_ahead_of_others": os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR),
    }


def _java():
    try:
        done = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=20, check=False)
        return done.stderr.split("\n")[0]
    except OSError:
        return "?"


def in_words(machine):
    """The same in a sentence."""
    disk = machine["disk"]
    virtual = "a virtual machine" if machine["virtual"] not in ("no", "none") else "a machine"
    ahead = "; servers and load with real-time priority" if machine["is_ahead_of_others"] else ""
    return (
        f"{virtual} with {machine['cores']} cores ({machine['processor']}), {machine['memory_gib']:.0f} GiB, "
        f"{disk['device']} with {disk['file_system']} (scheduler {disk['scheduler']}, cache {disk['write_cache']}), Linux "
        f"{machine['kernel']}; Apache ZooKeeper {machine['apache']} on {machine['java']}; {machine['zoo_server']} "
        f"({machine['commit']}, {machine['rustc']}); load average {machine['load_average_at_start']:.1f} before the first "
        f"measurement{ahead}"
    )
