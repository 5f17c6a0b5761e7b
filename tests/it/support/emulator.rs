//! A whole box in qemu: its power, its USB ports, and a root shell in it. `tests/box/image` makes its disk.
//!
//! The processor is emulated, so the box's times are longer than a real one's. Memory, files and devices are those of a real kernel.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// A box that has not answered by then never will.
const PATIENCE: Duration = Duration::from_secs(900);
/// The pause between two attempts to reach a socket of qemu that is just being made.
const PAUSE: Duration = Duration::from_millis(50);
/// A key is held for so many milliseconds, and let go as long before the next.
const KEY_MS: u64 = 10;

/// A box that is switched on. Killed when dropped.
pub struct Emulator {
    child: Child,
    console: PathBuf,
    monitor: BufReader<UnixStream>,
    shell: BufReader<UnixStream>,
    /// The other end of the serial reader's line. The adapter is plugged in as long as it is open.
    pub line: UnixStream,
}

impl Emulator {
    /// Switches a box on, of this architecture as Debian calls it. Kernel and initrd come from `image`; `disk` is its disk, `stick` a
    /// second, read-only one. The messages of its kernel go to `console`.
    ///
    /// The virtual disk keeps what the box's kernel has written, in the order in which it was written, also without a flush:
    /// its cache (`writeback`) is the host's, and outlives qemu. The contents of the box's own memory are lost with qemu.
    pub async fn power_on(architecture: &str, image: &Path, disk: &Path, stick: &Path, console: &Path) -> Self {
        let sockets = tempfile::tempdir().unwrap();
        let socket = |name: &str| sockets.path().join(name);
        let listening = |name: &str| format!("path={},server=on,wait=off", socket(name).display());
        let drive =
            |id: &str, file: &Path, more: &str| format!("if=none,format=raw,id={id},file={}{more}", file.display());
        let (qemu, processor) = match architecture {
            "arm64" => ("qemu-system-aarch64", "cortex-a72"),
            _ => ("qemu-system-arm", "cortex-a15"),
        };
        let found = Command::new(qemu).arg("--version").stdout(Stdio::null()).status().await;
        found.expect("qemu is installed (apt-get install qemu-system-arm)");
        // setpriv ends qemu with this process, however that ends.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", qemu])
            .args(["-M", "virt", "-cpu", processor, "-smp", "2", "-m", "512", "-nodefaults", "-display", "none"])
            // It has no clock with a battery, and begins in 1970.
            .args(["-rtc", "base=1970-01-01", "-no-reboot"])
            .arg("-kernel")
            .arg(image.join("vmlinuz"))
            .arg("-initrd")
            .arg(image.join("initrd.img"))
            .args(["-append", "root=/dev/vda rw console=ttyAMA0 panic=-1"])
            .args(["-drive", &drive("disk", disk, ",cache=writeback"), "-device", "virtio-blk-pci,drive=disk"])
            .args(["-drive", &drive("stick", stick, ",readonly=on"), "-device", "virtio-blk-pci,drive=stick"])
            .args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="])
            .args(["-chardev", &format!("socket,id=line,{}", listening("line")), "-device", "qemu-xhci"])
            .args(["-chardev", &format!("socket,id=shell,{}", listening("shell")), "-device", "virtio-serial-pci"])
            .args(["-device", "virtserialport,chardev=shell,name=shell"])
            .args(["-serial", &format!("file:{}", console.display())])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", socket("monitor").display())])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("setpriv is installed (apt-get install util-linux)");
        let (monitor, shell, line) = (connect(socket("monitor")), connect(socket("shell")), connect(socket("line")));
        let (monitor, shell, line) = tokio::join!(monitor, shell, line);
        let (monitor, shell) = (BufReader::new(monitor), BufReader::new(shell));
        let mut emulator = Self { child, console: console.to_owned(), monitor, shell, line };
        emulator.monitor("qmp_capabilities", &json!({})).await;
        emulator.plug_serial().await;
        emulator.plug_keyboard().await;
        emulator
    }

    /// Cuts the power.
    pub async fn power_cut(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Has the box switch itself off, and waits for it.
    pub async fn power_off(mut self) {
        self.shell.get_mut().write_all(b"systemctl poweroff\n").await.unwrap();
        patiently(self.child.wait()).await.unwrap();
    }

    /// Plugs a USB serial adapter in, of FTDI's kind, with the serial number `READER1`.
    pub async fn plug_serial(&mut self) {
        let device = json!({"driver": "usb-serial", "id": "serial", "chardev": "line", "serial": "READER1"});
        self.monitor("device_add", &device).await;
    }

    /// Plugs a USB keyboard in, with the serial number `READER2`.
    pub async fn plug_keyboard(&mut self) {
        let device = json!({"driver": "usb-kbd", "id": "keyboard", "serial": "READER2"});
        self.monitor("device_add", &device).await;
    }

    /// Pulls `serial` or `keyboard`.
    pub async fn pull(&mut self, id: &str) {
        self.monitor("device_del", &json!({ "id": id })).await;
    }

    /// Types digits and Enter.
    pub async fn type_card(&mut self, digits: &str) {
        for key in digits.chars().map(String::from).chain(["ret".to_owned()]) {
            let keys = json!({"keys": [{"type": "qcode", "data": key}], "hold-time": KEY_MS});
            self.monitor("send-key", &keys).await;
        }
    }

    /// Runs a command in the box, as root: its exit code and what it printed.
    pub async fn run(&mut self, command: &str) -> (i32, String) {
        let script = format!("{{ {command}\n}} </dev/null 2>&1; printf '\\nended %s\\n' $?\n");
        self.shell.get_mut().write_all(script.as_bytes()).await.unwrap();
        let mut printed = String::new();
        let code = patiently(async {
            loop {
                let mut line = String::new();
                let length = self.shell.read_line(&mut line).await.unwrap();
                assert_ne!(length, 0, "the box is gone; see {}", self.console.display());
                match line.trim_end().strip_prefix("ended ") {
                    Some(code) => break code.parse().unwrap(),
                    None => printed.push_str(&line),
                }
            }
        });
        (code.await, printed.trim().to_owned())
    }

    /// Runs a command that must not fail: its output.
    pub async fn output(&mut self, command: &str) -> String {
        let (code, printed) = self.run(command).await;
        assert_eq!(code, 0, "{command}: {printed}");
        printed
    }

    async fn monitor(&mut self, command: &str, arguments: &Value) {
        let request = json!({"execute": command, "arguments": arguments});
        self.monitor.get_mut().write_all(format!("{request}\n").as_bytes()).await.unwrap();
        let answered = patiently(async {
            loop {
                let mut line = String::new();
                self.monitor.read_line(&mut line).await.unwrap();
                let answer: Value = serde_json::from_str(&line).unwrap();
                // qemu's greeting and its events come between.
                if answer.get("return").is_some() || answer.get("error").is_some() {
                    break answer;
                }
            }
        });
        let answer = answered.await;
        assert!(answer.get("error").is_none(), "{command}: {answer}");
    }
}

async fn connect(socket: PathBuf) -> UnixStream {
    patiently(async {
        loop {
            match UnixStream::connect(&socket).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    })
    .await
}

/// Waits for a future that a working box fulfils, however slow it is.
pub async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("the box answers")
}
