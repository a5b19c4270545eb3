package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// stateEnv passes the result of the re-execution to the child and its own children: the workers of
// a fuzz test are started from os.Args[0] and are already inside. It is empty in a process that has
// tried nothing; otherwise it is one of the states below, or the reason why there is no lab.
const stateEnv = "NETLAB_STATE"

const (
	stateEnter = "enter" // freshly cloned: the namespaces are to be proven and prepared
	stateReady = "ready" // inside and prepared
)

// exitRefused reports to the parent that the namespaces are unusable. The testing package uses
// other codes (0, 1, 2).
const exitRefused = 77

// A Runner is what Main runs: a *testing.M.
type Runner interface {
	Run() int
}

// Main is a complete TestMain: it runs the tests in namespaces of their own and does not return.
//
//	test binary ── clone(NEWUSER|NEWNET|NEWNS) ──> itself: lo up? /run private, m.Run()
//	     │              refused, and real root: clone(NEWNET|NEWNS)
//	     │              refused again: m.Run() here, network tests skip (REQUIRE_NETNS=1: exit 1)
//	     └─ passes signals down and the exit code up
func Main(m Runner) {
	switch os.Getenv(stateEnv) {
	case stateReady:
		os.Exit(m.Run())
	case stateEnter:
		Enter()
		os.Exit(m.Run())
	case stateUMLStart:
		umlStart()
	case stateUML:
		umlInit(m)
	}
	err := reexec(unix.CLONE_NEWUSER)
	if os.Geteuid() == 0 {
		if rootErr := reexec(0); rootErr != nil {
			err = fmt.Errorf("%w; as root without a user namespace: %w", err, rootErr)
		}
	}
	reason := strings.ReplaceAll(err.Error(), "\n", "; ")
	Announce(fmt.Sprintf("netlab: SKIPPED network tests of %s: %s", testedPackage(), reason))
	if required() {
		fmt.Fprintln(os.Stderr, "netlab: REQUIRE_NETNS=1: this is a failure")
		os.Exit(1)
	}
	setState(reason)
	os.Exit(m.Run())
}

func setState(state string) {
	if err := os.Setenv(stateEnv, state); err != nil {
		fmt.Fprintln(os.Stderr, "netlab:", err)
		os.Exit(1)
	}
}

// testedPackage returns the import path of the package of this test binary.
func testedPackage() string {
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Path != "" {
		return strings.TrimSuffix(bi.Path, ".test")
	}
	return filepath.Base(os.Args[0])
}

// prepare verifies that the process controls the new namespaces, and sets them up.
//
// Some systems permit the clone and remove all capabilities afterwards (the AppArmor profile
// unprivileged_userns of Ubuntu 24.04), so only a privileged operation proves control.
func prepare() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("namespace created but powerless: %w", err)
	}
	// Without a user namespace, mounts would propagate to the host: disable that first.
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount a private /run: %w", err)
	}
	return nil
}

// reexec runs this program again in new network and mount namespaces, and those in flags, and exits
// with its status. It returns only if the system refused.
func reexec(flags uintptr) error {
	// Pdeathsig refers to the death of the thread that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2)
	defer signal.Stop(signals)

	cmd := again(context.Background(), flags)
	cmd.Stdin = os.Stdin
	cmd.SysProcAttr.Setpgid = true      // a group of its own: Ctrl-C reaches the child once, through us
	if err := cmd.Start(); err != nil { // EPERM: sysctl, AppArmor, seccomp; ENOSPC: max_user_namespaces
		return fmt.Errorf("clone: %w", err)
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				// The child may have ended; its exit code follows.
				_ = cmd.Process.Signal(s)
			case <-done:
				return
			}
		}
	}()
	err := cmd.Wait()
	close(done)
	var exit *exec.ExitError
	switch {
	case err == nil:
		os.Exit(0)
	case !errors.As(err, &exit):
		return fmt.Errorf("wait: %w", err)
	case exit.ExitCode() == exitRefused:
		return errors.New("namespaces refused, see above")
	}
	dieLike(exit)
	return nil
}

// again returns a command for this program with the same arguments, in new network and mount
// namespaces and the namespaces in flags. The process dies with the thread that starts it.
func again(ctx context.Context, flags uintptr) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), stateEnv+"="+stateEnter)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | flags,
		Pdeathsig:  unix.SIGKILL,
	}
	if flags&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return cmd
}

// dieLike ends this process like the child: with its exit code, or by the same signal.
func dieLike(exit *exec.ExitError) {
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		signal.Reset(status.Signal())
		if err := unix.Kill(os.Getpid(), status.Signal()); err == nil && status.Signal() == unix.SIGKILL {
			select {}
		}
		os.Exit(128 + int(status.Signal()))
	}
	os.Exit(exit.ExitCode())
}
