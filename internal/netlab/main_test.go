package netlab_test

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab"
)

// roleEnv makes TestRole, in another run of this test binary, do something to be looked at from
// outside.
const roleEnv = "NETLAB_TEST_ROLE"

// TestRole is what the tests below run in a fresh copy of this binary.
func TestRole(t *testing.T) {
	switch os.Getenv(roleEnv) {
	case "":
		t.Skip("only run by other tests, in a copy of this binary")
	case "fail":
		t.Error("as asked")
	case "exit":
		os.Exit(9)
	case "kill":
		if err := unix.Kill(os.Getpid(), unix.SIGKILL); err != nil {
			t.Error(err)
		}
	case "need":
		netlab.Need(t)
		netlab.New(t)
	case "wait":
		t.Logf("pid=%d", os.Getpid())
		time.Sleep(time.Minute)
	case "fatal inside":
		netlab.New(t).Do(t, func() { t.Fatal("as asked") })
		t.Log("went on")
	case "panic inside":
		netlab.New(t).Do(t, func() { panic("as asked") })
		t.Log("went on")
	case "skip inside":
		netlab.New(t).Do(t, func() { t.Skip("as asked") })
		t.Log("went on")
	default:
		runInside(t, os.Getenv(roleEnv))
	}
}

// role is a fresh run of this binary, outside the laboratory's state.
func role(t *testing.T, name string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestRole$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), append([]string{"NETLAB_STATE=", "REQUIRE_NETNS=", roleEnv + "=" + name}, env...)...)
	return cmd
}

func TestMainPassesExitOn(t *testing.T) {
	netlab.Need(t)
	for _, tt := range []struct {
		role string
		code int
		want string
		not  string
	}{
		{"need", 0, "--- PASS: TestRole", "SKIP"},
		{"fail", 1, "as asked", ""},
		{"exit", 9, "", "PASS"},
		{"fatal inside", 1, "as asked", "went on"},
		{"panic inside", 1, "panic: as asked", "went on"},
		{"skip inside", 0, "--- SKIP: TestRole", "went on"},
	} {
		t.Run(tt.role, func(t *testing.T) {
			out, err := role(t, tt.role).CombinedOutput()
			if code := exitCode(err); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if !bytes.Contains(out, []byte(tt.want)) || tt.not != "" && bytes.Contains(out, []byte(tt.not)) {
				t.Errorf("want %q and not %q in:\n%s", tt.want, tt.not, out)
			}
		})
	}
}

func TestMainDiesLikeItsChild(t *testing.T) {
	netlab.Need(t)
	err := role(t, "kill").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != -1 || exit.String() != "signal: killed" {
		t.Errorf("%v, want a death by SIGKILL", err)
	}
}

// Signals go down to the child, and a parent that is killed takes the child with it.
func TestMainAndSignals(t *testing.T) {
	netlab.Need(t)
	for _, tt := range []struct {
		signal unix.Signal
		want   string
	}{
		{unix.SIGTERM, "signal: terminated"},
		{unix.SIGQUIT, "exit status 2"}, // the runtime prints all stacks
		{unix.SIGKILL, "signal: killed"},
	} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			cmd := role(t, "wait")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			child := 0
			for lines := bufio.NewScanner(out); child == 0 && lines.Scan(); {
				if _, pid, ok := strings.Cut(lines.Text(), "pid="); ok {
					if child, err = strconv.Atoi(pid); err != nil {
						t.Fatal(err)
					}
				}
			}
			if child == cmd.Process.Pid || child == 0 {
				t.Fatalf("child %d of %d", child, cmd.Process.Pid)
			}
			if err := cmd.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil || err.Error() != tt.want {
				t.Errorf("parent: %v, want %s", err, tt.want)
			}
			for began := time.Now(); unix.Kill(child, 0) == nil && !zombie(child); time.Sleep(time.Millisecond) {
				if time.Since(began) > 5*time.Second {
					t.Fatalf("child %d outlived its parent", child)
				}
			}
		})
	}
}

// Where namespaces are refused network tests skip with the reason, unless they are required.
func TestMainRefused(t *testing.T) {
	netlab.Need(t)
	forbid(t, "user", "net", "mnt")
	out, err := role(t, "need").CombinedOutput()
	if err != nil {
		t.Errorf("%v", err)
	}
	for _, want := range []string{
		"netlab: SKIPPED network tests of ", "/internal/netlab: ", "no space left on device", "--- SKIP: TestRole",
	} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("want %q in:\n%s", want, out)
		}
	}
	out, err = role(t, "need", "REQUIRE_NETNS=1").CombinedOutput()
	if exitCode(err) != 1 || !bytes.Contains(out, []byte("this is a failure")) {
		t.Errorf("required: %v\n%s", err, out)
	}
}

// Root needs no user namespace.
func TestMainAsRoot(t *testing.T) {
	netlab.Need(t)
	forbid(t, "user")
	out, err := role(t, "need", "REQUIRE_NETNS=1").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestRole")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// A child that has its namespaces but no power over them says so by its exit code. A user who is
// mapped to the overflow user loses all capabilities with exec.
func TestMainPowerless(t *testing.T) {
	netlab.Need(t)
	cmd := role(t, "need", "NETLAB_STATE=enter")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if exitCode(err) != 77 || !bytes.Contains(out, []byte("powerless")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// forbid forbids further namespaces of these kinds below the test's own, until the test ends.
func forbid(t *testing.T, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		limit := "/proc/sys/user/max_" + kind + "_namespaces"
		old, err := os.ReadFile(limit)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(limit, []byte("0"), 0); err != nil {
			t.Skipf("cannot forbid namespaces here: %v", err)
		}
		t.Cleanup(func() {
			if err := os.WriteFile(limit, old, 0); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMainWritesCoverage(t *testing.T) {
	netlab.Need(t)
	if testing.CoverMode() == "" {
		t.Skip("this binary does not measure coverage")
	}
	profile := filepath.Join(t.TempDir(), "cover.out")
	cmd := role(t, "need")
	cmd.Args = append(cmd.Args, "-test.coverprofile="+profile)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if b, err := os.ReadFile(profile); err != nil || !bytes.HasPrefix(b, []byte("mode: ")) {
		t.Errorf("%v: %.40q", err, b)
	}
}

// FuzzInside proves that the workers of a fuzz run, which are started from the test binary, are
// inside as well.
func FuzzInside(f *testing.F) {
	f.Add(1500)
	f.Fuzz(func(t *testing.T, _ int) { netlab.New(t) })
}

func BenchmarkNewProvider(b *testing.B) {
	for b.Loop() {
		netlab.NewProvider(b)
	}
}

func BenchmarkReset(b *testing.B) {
	lab := netlab.NewProvider(b)
	for b.Loop() {
		lab.Reset(b)
	}
}

// exitCode is the exit code that an error of package exec holds.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// zombie reports whether a process has ended and has not been waited for.
func zombie(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || bytes.Contains(b, []byte(") Z "))
}
