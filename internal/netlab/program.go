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

// ErrRefused means that the system does not let this process have namespaces of its own.
var ErrRefused = errors.New("namespaces are refused")

// ErrFailed means that a copy of this program ended with an error, which it has told.
var ErrFailed = errors.New("the program in the namespaces failed")

// endTimeout is how long a copy of this program may take to end when it is asked to.
const endTimeout = 10 * time.Second

// RunInside is for programs what Main is for tests: it runs this program again with the same arguments, in namespaces of its own, and returns
// when that copy has ended. The copy finds the files from descriptor 3 on, and calls Enter first of all. It gets SIGTERM when ctx
// ends, and is killed when this process dies, however that comes about: the copy is all that holds the namespaces.
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

// runInside tries it with these namespaces. The copy stays in the group of this process: what is sent to both ends both.
func runInside(ctx context.Context, flags uintptr, files []*os.File) error {
	// Pdeathsig means the death of the thread that started the child.
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

// Enter makes the namespaces fit for use in a copy of the program that RunInside has started, and tells whether this is one. Where
// they turn out to be of no use, it does not return: RunInside then tries it in another way.
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

// Build builds a laboratory for a program that is no test: what would fail a test ends f, and is returned. The laboratory stands until end is
// called; of one that failed nothing is left.
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

// A builder is the T of a program.
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

// Logf implements T. What could not be closed ends with the process, and needs no word.
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

// Skipf implements T: a program has nothing to skip to.
func (b *builder) Skipf(format string, args ...any) { b.Fatalf(format, args...) }

// Cleanup implements T.
func (b *builder) Cleanup(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cleanups = append(b.cleanups, f)
}

// TempDir implements T. A program that may be killed must not have left a directory behind.
func (b *builder) TempDir() string {
	b.Fatalf("there are no temporary directories outside of tests")
	return ""
}

// Failed implements T.
func (b *builder) Failed() bool { return b.failure() != nil }
