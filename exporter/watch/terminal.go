package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// ErrNoTerminal means that there is no terminal to draw on.
var ErrNoTerminal = errors.New("needs a terminal")

// Control sequences of a terminal (ECMA-48; xterm's private modes).
const (
	enter  = "\x1b[?1049h\x1b[?25l\x1b[?7l" // the alternate screen, without a cursor, lines are cut
	leave  = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	home   = "\x1b[H"
	toEnd  = "\x1b[K" // erases the rest of the line
	below  = "\x1b[J" // erases the rest of the screen
	ctrlC  = 3
	escape = 27
)

// A Terminal is a screen to draw on, and keys to end by.
type Terminal struct {
	out *os.File
	in  *os.File
	// former is how the keyboard was, nil if there is none.
	former *term.State
	end    context.CancelFunc
	closed bool
}

// Open takes a terminal over, until Close. Where in is no terminal, only a signal ends. The
// returned context ends by q, Escape or Ctrl-C.
func Open(ctx context.Context, in, out *os.File) (context.Context, *Terminal, error) {
	if !term.IsTerminal(int(out.Fd())) {
		return ctx, nil, ErrNoTerminal
	}
	ctx, end := context.WithCancel(ctx)
	t := &Terminal{out: out, in: in, end: end}
	if former, err := term.MakeRaw(int(in.Fd())); err == nil {
		t.former = former
		go t.keys()
	}
	if _, err := out.WriteString(enter); err != nil {
		return ctx, nil, errors.Join(fmt.Errorf("terminal: %w", err), t.Close())
	}
	return ctx, t, nil
}

// keys ends the screen when a key says so. It lasts as long as the program: a read of a terminal
// cannot be ended.
func (t *Terminal) keys() {
	defer t.end()
	b := make([]byte, 64)
	for {
		n, err := t.in.Read(b)
		if err != nil || n == 0 || ends(b[:n]) {
			return
		}
	}
}

// ends reports whether one of the keys ends the screen. Arrow keys and the like are sequences that
// begin with Escape (ECMA-48, CSI; xterm's SS3).
func ends(keys []byte) bool {
	for len(keys) > 0 {
		length := 1
		switch {
		case keys[0] == 'q', keys[0] == 'Q', keys[0] == ctrlC, keys[0] == escape && len(keys) == 1:
			return true
		case keys[0] != escape:
		case keys[1] == '[':
			final := bytes.IndexFunc(keys[2:], func(r rune) bool { return r >= '@' })
			length = len(keys)
			if final >= 0 {
				length = 2 + final + 1
			}
		case keys[1] == 'O':
			length = 3
		default:
			length = 2
		}
		keys = keys[min(length, len(keys)):]
	}
	return false
}

// Size returns the size of the terminal, that of the smallest usual one if it is not known.
func (t *Terminal) Size() Size {
	columns, rows, err := term.GetSize(int(t.out.Fd()))
	if err != nil || columns <= 0 || rows <= 0 {
		return Size{Columns: 80, Rows: 24}
	}
	return Size{columns, rows}
}

// Show draws lines in place of those before.
func (t *Terminal) Show(lines []string) error {
	size := t.Size()
	if len(lines) > size.Rows {
		lines = lines[:size.Rows]
	}
	_, err := t.out.WriteString(home + strings.Join(lines, toEnd+"\r\n") + toEnd + below)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	return nil
}

// Close gives the terminal back as it was. Further calls do nothing.
func (t *Terminal) Close() error {
	if t.closed {
		return nil
	}
	t.closed = true
	t.end()
	_, err := t.out.WriteString(leave)
	if t.former != nil {
		err = errors.Join(err, term.Restore(int(t.in.Fd()), t.former))
	}
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	return nil
}
