package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrRefused means that the system refuses namespaces to this process.
var ErrRefused = errors.New("namespaces are refused")

// ErrFailed means that a copy of this program ended with an error and reported it.
var ErrFailed = errors.New("the program in the namespaces failed")

// endTimeout limits the time that a copy of this program takes to end after SIGTERM.
const endTimeout = 10 * time.Second

// RunInside is Main for programs: it runs this program again with the same arguments in new
// namespaces and returns when that copy has ended. The copy finds the files at descriptor 3 and
// above, and calls Enter first. It gets SIGTERM when ctx ends and is killed when this process dies
// in any way: only the copy holds the namespaces.
//
//	program ── clone(NEWUSER|NEWNET|NEWNS) ──> itself: Enter, then its work
//	   │           refused, and real root: clone(NEWNET|NEWNS)
//	   └─ asks it to end, and waits
func RunInside(ctx context.Context, files ...*os.File) error {
	err := runInside(ctx, unix.CLONE_NEWUSER, files)
	if os.Geteuid() != 0 || !errors.Is(err, ErrRefused) {
		return err
	}
	rootErr := runInside(ctx, 0, files)
	if !errors.Is(rootErr, ErrRefused) {
		return rootErr
	}
	return fmt.Errorf("%w; as root without a user namespace: %w", err, rootErr)
}

// An ExitError is the exit code of a copy of this program that RunPrivileged has started.
type ExitError struct{ Code int }

// Error returns the code.
func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// RunPrivileged is RunInside for measurements: root keeps its user namespace, and with it privileges
// that the kernel grants only there, such as large socket buffers. Another user gets a user namespace,
// where those are missing. The error is an ExitError if the copy ended with another code than 0.
func RunPrivileged(ctx context.Context) error {
	flags := uintptr(unix.CLONE_NEWUSER)
	if os.Geteuid() == 0 {
		flags = 0
	}
	err := runInside(ctx, flags, nil)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return &ExitError{exit.ExitCode()}
	}
	return err
}

// runInside tries one set of namespaces. The copy stays in the process group of this process, so a
// signal to the group ends both.
func runInside(ctx context.Context, flags uintptr, files []*os.File) error {
	// Pdeathsig refers to the death of the thread that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := again(ctx, flags)
	cmd.ExtraFiles = files
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = endTimeout
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("%w: clone: %w", ErrRefused, err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil, ctx.Err() != nil && cmd.ProcessState.Success():
		return nil
	case !errors.As(err, &exit):
		return fmt.Errorf("wait: %w", err)
	case exit.ExitCode() == exitRefused:
		return fmt.Errorf("%w, see above", ErrRefused)
	}
	return fmt.Errorf("%w: %w", ErrFailed, err)
}

// Enter sets up the namespaces in a copy of the program that RunInside has started, and reports
// whether this process is one. If the namespaces are unusable it does not return, and RunInside
// tries other ones.
func Enter() (inside bool) {
	if os.Getenv(stateEnv) != stateEnter {
		return false
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "netlab:", err)
		os.Exit(exitRefused)
	}
	setState(stateReady)
	return true
}

// Build builds a lab for a program: an error that would fail a test ends f and is returned. The lab
// exists until end is called; a failed lab leaves nothing behind.
func Build(f func(t T)) (end func(), err error) {
	b := &builder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(b)
	}()
	<-done
	if err := b.failure(); err != nil {
		b.end()
		return nil, err
	}
	return b.end, nil
}

// A builder implements T for a program.
type builder struct {
	mu       sync.Mutex
	err      error
	cleanups []func()
}

func (b *builder) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// end releases everything, the newest first.
func (b *builder) end() {
	b.mu.Lock()
	cleanups := b.cleanups
	b.cleanups = nil
	b.mu.Unlock()
	for _, f := range slices.Backward(cleanups) {
		f()
	}
}

// Helper implements T.
func (b *builder) Helper() {}

// Logf implements T. Resources that could not be closed end with the process, so nothing is logged.
func (b *builder) Logf(string, ...any) {}

// Fatalf implements T.
func (b *builder) Fatalf(format string, args ...any) {
	b.mu.Lock()
	b.err = errors.Join(b.err, fmt.Errorf(format, args...))
	b.mu.Unlock()
	runtime.Goexit()
}

// FailNow implements T.
func (b *builder) FailNow() {
	if !b.Failed() {
		b.Fatalf("failed without a reason")
	}
	runtime.Goexit()
}

// Skipf implements T: a program cannot skip.
func (b *builder) Skipf(format string, args ...any) { b.Fatalf(format, args...) }

// Cleanup implements T.
func (b *builder) Cleanup(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cleanups = append(b.cleanups, f)
}

// TempDir implements T. A program that is killed would leave the directory behind.
func (b *builder) TempDir() string {
	b.Fatalf("temporary directories exist in tests only")
	return ""
}

// Failed implements T.
func (b *builder) Failed() bool { return b.failure() != nil }
