package netlab

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"
)

// T is the part of *testing.T, *testing.B and *testing.F that the lab needs. A program brings its
// own. Fatalf must not return.
type T interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	FailNow()
	Skipf(format string, args ...any)
	Cleanup(f func())
	TempDir() string
	Failed() bool
}

// ErrNotEntered is the result of Available if the process never tried to get namespaces.
var ErrNotEntered = errors.New("netlab.Main was not called: TestMain is missing")

// Available returns nil if this process may create network namespaces, else the reason.
func Available() error {
	switch state := os.Getenv(stateEnv); state {
	case stateReady:
		return nil
	case "":
		return ErrNotEntered
	default:
		return errors.New(state)
	}
}

// Need skips the test, with the reason, if network namespaces are not available.
func Need(t T) {
	t.Helper()
	if err := Available(); err != nil {
		if required() {
			t.Fatalf("network namespaces are required: %v", err)
		}
		t.Skipf("no network namespaces: %v", err)
	}
}

// Announce reports a skip and its reason on standard error and on the terminal, if there is one:
// `go test ./...` shows nothing of a package that passes.
func Announce(line string) {
	fmt.Fprintln(os.Stderr, line)
	if tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0); err == nil {
		defer tty.Close()
		if !term.IsTerminal(int(os.Stderr.Fd())) {
			fmt.Fprintln(tty, line)
		}
	}
}

// required reports whether a missing lab is a failure. CI sets it so that a skip does not count as
// success.
func required() bool { return os.Getenv("REQUIRE_NETNS") == "1" }
