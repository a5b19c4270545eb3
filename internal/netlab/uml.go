package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// User-Mode Linux is a kernel that runs as a program: it has the IPsec that many host kernels lack
// and needs no privileges.
//
//	test ── UML() ──> umlStart ──> linux.uml init=<this test binary>
//	                      └─> Main as process 1: mounts, modules ──> the same test: UML() is true
//	     └─ the test's outcome <── console <── "netlab-uml exit 0", power off
//
// It sees the files of this host read-only; writable files are in memory.
const (
	umlKernel  = "/usr/bin/linux.uml"
	umlModules = "/usr/lib/uml/modules"
	umlMemory  = "768M"
	umlTimeout = 5 * time.Minute

	// umlTestEnv passes the name of the test to the new kernel.
	umlTestEnv = "NETLAB_UML_TEST"
	stateUML   = "uml"
)

// umlModuleNames are loaded at the start, because some are not loaded on demand.
const umlModuleNames = "esp4 esp6 ah4 xfrm_user af_key veth tun authenc cbc ctr gcm seqiv echainiv sha256_generic nf_tables"

// umlNoAVX keeps programs from using registers that User-Mode Linux does not save (see umlStart):
// Go, glibc, OpenSSL and NSS.
var umlNoAVX = []string{
	"GODEBUG=cpu.all=off", "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX_Fast_Unaligned_Load",
	"OPENSSL_ia32cap=~0x1000000000000000:0", "NSS_DISABLE_AVX=1", "NSS_DISABLE_AVX2=1", "NSS_DISABLE_HW_AES=1",
}

// umlExit matches the last line of the output.
var umlExit = regexp.MustCompile(`(?m)^netlab-uml exit (\d+)\r?$`)

// UML runs a test under a kernel of its own. It returns true there. Outside it returns false, after
// the test has run inside with the same outcome. Without User-Mode Linux the test is skipped, or
// fails with REQUIRE_DAEMONS=1.
func UML(t T, name string) bool {
	t.Helper()
	if os.Getenv(umlTestEnv) != "" {
		return true
	}
	if underRaceDetector() {
		t.Skipf("the race detector needs more memory than User-Mode Linux has addresses for; the run without it does this test")
	}
	if err := findUML(); err != nil {
		if os.Getenv("REQUIRE_DAEMONS") == "1" {
			t.Fatalf("User-Mode Linux is required: %v", err)
		}
		Announce("netlab: SKIPPED a test of the kernel's IPsec: " + err.Error())
		t.Skipf("no User-Mode Linux: %v", err)
	}
	out, err := boot(name)
	exit := umlExit.FindStringSubmatch(out)
	switch {
	case exit == nil:
		t.Fatalf("User-Mode Linux ended early: %v\n%s", err, out)
	case exit[1] != "0":
		t.Fatalf("failed under User-Mode Linux:\n%s", out)
	case strings.Contains(out, "--- SKIP: "+name):
		t.Skipf("skipped under User-Mode Linux:\n%s", out)
	case !strings.Contains(out, "--- PASS: "+name):
		t.Fatalf("did not run under User-Mode Linux:\n%s", out)
	}
	t.Logf("under User-Mode Linux:\n%s", out)
	return false
}

// underRaceDetector reports whether this binary was built with -race.
func underRaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// findUML reports which requirement of the kernel is not installed.
func findUML() error {
	for _, program := range []string{umlKernel, "/sbin/modprobe"} {
		if _, err := exec.LookPath(program); err != nil {
			return err
		}
	}
	_, err := os.Stat(umlModules)
	return err
}

// boot runs the test in a new kernel and returns its output.
func boot(test string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), umlTimeout)
	defer cancel()
	args := []string{
		"mem=" + umlMemory, "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", "con=null", "con0=null,fd:1", "ssl=null",
		"init=" + self, stateEnv + "=" + stateUML, umlTestEnv + "=" + test,
	}
	args = append(args, umlNoAVX...)
	for _, pass := range []string{"LIBRESWAN_ROOT", "REQUIRE_NETNS", "REQUIRE_DAEMONS"} {
		if v := os.Getenv(pass); v != "" {
			args = append(args, pass+"="+v)
		}
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), stateEnv+"="+stateUMLStart)
	// The kernel starts a process for each of its own; all end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), errors.Join(err, ctx.Err())
}

// umlInit runs as process 1 of the new kernel. It does not return.
func umlInit(m Runner) {
	code := 1
	if err := umlPrepare(); err != nil {
		fmt.Fprintln(os.Stderr, "netlab:", err)
	} else {
		setState(stateReady)
		os.Args = []string{os.Args[0], "-test.run=^" + os.Getenv(umlTestEnv) + "$", "-test.v", "-test.count=1"}
		code = m.Run()
	}
	fmt.Fprintf(os.Stdout, "\nnetlab-uml exit %s\n", strconv.Itoa(code))
	unix.Sync()
	// An error needs no handling: the kernel panics when process 1 ends, which ends the kernel too.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	os.Exit(code)
}

// umlPrepare prepares a bare kernel with read-only files for tests and daemons.
func umlPrepare() error {
	for _, mount := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/var"},
	} {
		if err := unix.Mount(mount.kind, mount.at, mount.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", mount.at, err)
		}
	}
	if err := prepare(); err != nil {
		return err
	}
	const temp, modules, modprobe = "/var/tmp", "/var/lib/modprobe/lib/modules", "/var/lib/modprobe/modprobe" // each daemon has a /run of its own
	for _, dir := range []string{temp, "/run/lock", "/var/log", "/var/lib", "/dev/net", "/dev/shm", filepath.Dir(modules)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	script := "#!/bin/sh\nexport '" + umlNoAVX[1] + "'\nexec /sbin/modprobe -d /var/lib/modprobe \"$@\"\n"
	err := errors.Join(
		os.Symlink("/run", "/var/run"), os.Symlink(umlModules, modules), os.WriteFile(modprobe, []byte(script), 0o700),
		writeFile("/proc/sys/kernel/modprobe", modprobe), unix.Mount("tmpfs", "/dev/shm", "tmpfs", 0, ""),
		os.Setenv("TMPDIR", temp), os.Setenv("HOME", temp), os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
	)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(context.Background(), modprobe, append([]string{"-a"}, strings.Fields(umlModuleNames)...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("load modules: %w: %s", err, out)
	}
	err = unix.Mknod("/dev/net/tun", unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200)))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("tun device: %w", err)
	}
	return nil
}
