package gateways

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Command is the control program of a daemon that offers no socket interface. It runs without a
// shell and with an empty environment.
type Command struct {
	// Paths are the possible locations; the first that exists is run.
	Paths []string
	// Args come before the arguments of each run.
	Args []string
}

const (
	maxOutput    = 64 << 20 // some 100 bytes per SA are usual
	maxComplaint = 200      // of an error message
)

// ErrNoProgram means that a control program is not installed.
var ErrNoProgram = errors.New("not installed")

// Run runs the program and returns what it prints. All output is read, also more than is kept: a
// daemon that writes to a stopped reader would block. The program is killed when the context ends.
func (c Command) Run(ctx context.Context, args ...string) (string, error) {
	path, err := c.find()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, path, slices.Concat(c.Args, args)...) //nolint:gosec // the path is one of a fixed list; no shell
	cmd.Env = []string{"LC_ALL=C"}
	cmd.WaitDelay = time.Second
	out, complaint := bounded{limit: maxOutput}, bounded{limit: maxComplaint}
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err = cmd.Run()
	what := fmt.Sprintf("%s %s", filepath.Base(path), strings.Join(args, " "))
	if err != nil {
		// The reason may be on either stream: whack writes it to standard output.
		first, _, _ := strings.Cut(strings.TrimSpace(cmp.Or(complaint.String(), out.String())), "\n")
		return "", fmt.Errorf("%s: %w: %s", what, errors.Join(err, ctx.Err()), first[:min(len(first), maxComplaint)])
	}
	if out.cut {
		return "", fmt.Errorf("%s: output exceeds %d bytes", what, maxOutput)
	}
	return out.String(), nil
}

func (c Command) find() (string, error) {
	for _, p := range c.Paths {
		if found, err := exec.LookPath(p); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("%s: %w", strings.Join(c.Paths, ", "), ErrNoProgram)
}

// bounded keeps the beginning of its input and discards the rest. It must not be a bytes.Buffer,
// because io.Copy would bypass Write.
type bounded struct {
	kept  bytes.Buffer
	limit int
	cut   bool // The input was longer.
}

func (b *bounded) String() string { return b.kept.String() }

func (b *bounded) Write(p []byte) (int, error) {
	fits := min(len(p), b.limit-b.kept.Len())
	b.cut = b.cut || fits < len(p)
	b.kept.Write(p[:fits])
	return len(p), nil
}
