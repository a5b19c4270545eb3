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

// A Command is a control program of a daemon that has no other door. It is run without a shell and with an empty environment.
type Command struct {
	// Paths are where it may be; the first that is there is run.
	Paths []string
	// Args come before the arguments of each run.
	Args []string
}

// maxOutput bounds what is read from a program: some 100 bytes per SA are usual.
const maxOutput = 64 << 20

// maxComplaint bounds what is repeated of a program's complaint.
const maxComplaint = 200

// ErrTooMuchOutput says that a program printed more than any table of SAs needs.
var ErrTooMuchOutput = errors.New("too much output")

// ErrNoProgram says that a control program is not there.
var ErrNoProgram = errors.New("not installed")

// Run runs the program and returns what it prints. It is killed when the context ends.
func (c Command) Run(ctx context.Context, args ...string) (string, error) {
	path, err := c.find()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, path, slices.Concat(c.Args, args)...)
	cmd.Env = []string{"LC_ALL=C"}
	cmd.WaitDelay = time.Second
	out, complaint := bounded{limit: maxOutput}, bounded{limit: maxComplaint, rest: true}
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		what := fmt.Sprintf("%s %s", filepath.Base(path), strings.Join(args, " "))
		// Why it failed may stand in either: whack complains on standard output.
		first, _, _ := strings.Cut(strings.TrimSpace(cmp.Or(complaint.String(), out.String())), "\n")
		return "", fmt.Errorf("%s: %w: %s", what, errors.Join(err, ctx.Err()), first[:min(len(first), maxComplaint)])
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

// bounded keeps the beginning of what is written to it, and refuses the rest, or with rest throws it away. It must not be a
// bytes.Buffer: io.Copy would pass Write by.
type bounded struct {
	kept  bytes.Buffer
	limit int
	rest  bool
}

func (b *bounded) String() string { return b.kept.String() }

func (b *bounded) Write(p []byte) (int, error) {
	fits := min(len(p), b.limit-b.kept.Len())
	n, _ := b.kept.Write(p[:fits])
	if n < len(p) && !b.rest {
		return n, ErrTooMuchOutput
	}
	return len(p), nil
}
