package gateways

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// script is a program that runs this shell script.
func script(t *testing.T, text string) Command {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ctl")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return Command{Paths: []string{"/nonexistent/ctl", path}, Args: []string{"--socket", "/run/x"}}
}

func TestCommand(t *testing.T) {
	t.Setenv("SECRET", "hunter2")
	got, err := script(t, `echo "$@"; echo "secret: $SECRET"`).Run(t.Context(), "--status", "a b; rm -rf /")
	if want := "--socket /run/x --status a b; rm -rf /\nsecret: \n"; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestCommandFails(t *testing.T) {
	for name, tt := range map[string]struct{ script, want string }{
		"complaint on standard error":  {"echo nobody there >&2; echo more >&2; exit 20", "ctl --status: exit status 20: nobody there"},
		"complaint on standard output": {"echo nobody there; exit 20", "ctl --status: exit status 20: nobody there"},
		"long complaint":               {"head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1", "ctl --status: exit status 1: " + strings.Repeat("x", 200)},
	} {
		if _, err := script(t, tt.script).Run(t.Context(), "--status"); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	if _, err := (Command{Paths: []string{"/nonexistent/ctl"}}).Run(t.Context()); !errors.Is(err, ErrNoProgram) {
		t.Errorf("without a program: %v", err)
	}
}

func TestCommandIsBounded(t *testing.T) {
	// The program writes the mark only if all of its output was read.
	mark := filepath.Join(t.TempDir(), "mark")
	_, err := script(t, "set -e; head -c "+strconv.Itoa(maxOutput+1)+" /dev/zero; : > "+mark).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "output exceeds") {
		t.Errorf("too much output: %v", err)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("the program was stopped: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := script(t, "sleep 60").Run(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

func TestMerge(t *testing.T) {
	got := Merge([]Found{{Host: "b", Name: "y"}, {Host: "b", Name: "x", Active: true}, {Host: "a"}, {Host: "b"}})
	if want := []Found{{Host: "a"}, {Host: "b", Name: "x", Active: true}}; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%+v", got)
	}
}
