// Package daemons runs real IKE daemons in network namespaces, for tests that must not rely on the
// project's own responder only: strongSwan's charon, Libreswan's pluto and OpenIKED's iked. It
// installs nothing. A test of a missing daemon is skipped with the reason, or fails with
// REQUIRE_DAEMONS=1.
//
// On Debian and Ubuntu:
//
//	strongSwan  strongswan-charon strongswan-swanctl libcharon-extra-plugins
//	            libstrongswan-standard-plugins libstrongswan-extra-plugins
//	            libcharon-extauth-plugins
//	vpnc        vpnc, a client
//	OpenIKED    openiked, and gcc with libc6-dev for a preloaded shim (see shim/iked_shim.c)
//	Libreswan   libnss3-tools libcurl3-nss libldns3 libunbound8 libevent-core-2.1-7
//	            libevent-pthreads-2.1-7 libldap-2.5-0 libaudit1 libcap-ng0, and the package
//	            libreswan unpacked beside the system, because it conflicts with strongSwan's:
//
//	apt-get download libreswan && dpkg -x libreswan_*.deb /opt/libreswan
//	export LIBRESWAN_ROOT=/opt/libreswan
//
// A policy-rc.d that exits 101 prevents the packages from starting services on the host.
//
// Each daemon has a mount namespace with its own /run, which the test sees as RunDir, so any number
// of daemons run side by side. The daemon is killed by its process ID when the test ends, and dies
// with the test in any case. No daemon needs ESP in the kernel to set up an IKE SA.
package daemons

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab"
)

// startTimeout limits the start of a daemon until it answers on its control socket.
const startTimeout = 30 * time.Second

// A daemon is a running program.
type daemon struct {
	name    string
	program program
	ns      *netlab.NS
	// dir holds its configuration and log; runDir is its /run as the test sees it.
	dir, runDir string
	pid         int
	exited      chan struct{}
}

// A program is a command to run.
type program struct {
	name string
	args []string
	env  []string
	// dir is the daemon's folder.
	dir string
	// mounts are made in its mount namespace: target to source.
	mounts map[string]string
}

// required reports whether a missing daemon is a failure. CI sets it so that a skip does not count
// as success.
func required() bool { return os.Getenv("REQUIRE_DAEMONS") == "1" }

// missing skips or fails the test because a program is missing.
func missing(t netlab.T, err error) {
	t.Helper()
	if required() {
		t.Fatalf("daemons are required: %v", err)
	}
	netlab.Announce("netlab: SKIPPED a test with a real daemon: " + err.Error())
	t.Skipf("no daemon: %v", err)
}

func find(candidates ...string) (string, error) {
	for _, c := range candidates {
		if path, err := exec.LookPath(c); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("none of %s is installed", strings.Join(candidates, ", "))
}

// start runs the program in the network namespace until the test ends.
func start(t netlab.T, n *netlab.NS, p program) *daemon {
	t.Helper()
	runDir, err := os.MkdirTemp("/run", p.name+"-")
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	d := &daemon{name: p.name, program: p, ns: n, dir: p.dir, runDir: runDir}
	t.Cleanup(func() { os.RemoveAll(runDir) }) //nolint:errcheck // a folder of a tmpfs that ends with the process
	d.run(t)
	t.Cleanup(func() { d.stop(t) })
	return d
}

func (d *daemon) run(t netlab.T) {
	t.Helper()
	exited := make(chan struct{})
	d.exited = exited
	started := make(chan error, 1)
	go func() {
		defer close(exited)
		launched := false
		err := d.ns.Run(func() error {
			cmd, err := d.launch(d.program)
			if err != nil {
				return err
			}
			launched = true
			started <- nil
			// The thread that started the program must live as long as the program, because
			// Pdeathsig refers to the thread.
			return cmd.Wait()
		})
		switch {
		case !launched:
			started <- err
		case err != nil:
			t.Logf("%s: %v", d.name, err)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", d.name, err)
	}
}

// launch starts the program in a new mount namespace; the calling thread moves into that namespace.
func (d *daemon) launch(p program) (*exec.Cmd, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("new mount namespace: %w", err)
	}
	if err := unix.Mount(d.runDir, "/run", "", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("mount /run: %w", err)
	}
	for target, source := range p.mounts {
		if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return nil, fmt.Errorf("mount %s on %s: %w", source, target, err)
		}
	}
	out, err := os.Create(d.outputFile())
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := &exec.Cmd{
		Path: p.args[0], Args: p.args, Env: append(os.Environ(), p.env...), Dir: "/", Stdout: out, Stderr: out,
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true},
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d.pid = cmd.Process.Pid
	return cmd, nil
}

// stop ends the program, with SIGTERM first, and logs its output if the test failed.
func (d *daemon) stop(t netlab.T) {
	t.Helper()
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		select {
		case <-d.exited: // It was stopped before; another process may have its number.
			continue
		default:
		}
		if err := unix.Kill(d.pid, s); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Logf("%s: signal %s to %d: %v", d.name, s, d.pid, err)
		}
		select {
		case <-d.exited:
		case <-time.After(3 * time.Second):
			continue
		}
		break
	}
	<-d.exited
	if t.Failed() {
		t.Logf("log of %s:\n%s", d.name, d.Log())
	}
}

// PID returns the daemon's process ID.
func (d *daemon) PID() int { return d.pid }

// RunDir returns the daemon's /run as the test sees it, with its control socket.
func (d *daemon) RunDir() string { return d.runDir }

func (d *daemon) outputFile() string { return filepath.Join(d.dir, d.name+".out") }

// Log returns the output of the daemon so far.
func (d *daemon) Log() string {
	var b strings.Builder
	for _, name := range []string{d.outputFile(), filepath.Join(d.dir, d.name+".log")} {
		if text, err := os.ReadFile(name); err == nil {
			b.Write(text)
		}
	}
	return b.String()
}

// await waits until ready returns true.
func (d *daemon) await(t netlab.T, what string, ready func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(startTimeout)
	for !ready() {
		select {
		case <-tick.C:
		case <-d.exited:
			t.Fatalf("%s ended before %s:\n%s", d.name, what, d.Log())
		case <-deadline:
			t.Fatalf("%s: no %s in %s:\n%s", d.name, what, startTimeout, d.Log())
		}
	}
}

// write writes one of the daemon's files, which may hold secrets.
func write(t netlab.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatalf("%v", err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	return path
}

// output runs a control program and returns what it prints.
func output(env []string, args ...string) (string, error) {
	// Pdeathsig refers to the thread that started the program, so that thread must not end before
	// the program.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // control programs have timeouts of their own
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	b, err := cmd.CombinedOutput()
	if err != nil {
		return string(b), fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, b)
	}
	return string(b), nil
}
