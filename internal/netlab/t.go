package netlab

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"
)

// T is what the laboratory asks of its user. A *testing.T, *testing.B or *testing.F is one; a program that is no test
// brings its own. Fatalf must not return.
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

// ErrNotEntered is the reason of Available when the process never tried to get namespaces of its own.
var ErrNotEntered = errors.New("netlab.Main was not called: TestMain is missing")

// Available tells whether this process may make network namespaces: nil, or the reason why not.
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

// Need skips the test, with the reason, where no network namespaces can be had.
func Need(t T) {
	t.Helper()
	if err := Available(); err != nil {
		if required() {
			t.Fatalf("network namespaces are required: %v", err)
		}
		t.Skipf("no network namespaces: %v", err)
	}
}

// Announce says what is skipped and why, on standard error and on the terminal, if there is one: of a package that passes, `go test
// ./...` shows nothing.
func Announce(line string) {
	fmt.Fprintln(os.Stderr, line)
	if tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0); err == nil {
		defer tty.Close()
		if !term.IsTerminal(int(os.Stderr.Fd())) {
			fmt.Fprintln(tty, line)
		}
	}
}

// required tells whether a missing laboratory is a failure. CI says so, lest a skip pass for a success.
func required() bool { return os.Getenv("REQUIRE_NETNS") == "1" }
