package history

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A limited file fails when the disk has no space left. The pointer is shared by all files of it.
type limited struct {
	file
	space *int
	err   error
	// stuck means that the file cannot be truncated either.
	stuck bool
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(*l.space, len(b))
	*l.space -= n
	if _, err := l.file.Write(b[:n]); err != nil {
		return 0, err
	}
	if n < len(b) {
		return n, l.err
	}
	return n, nil
}

func (l *limited) Truncate(size int64) error {
	if l.stuck {
		return l.err
	}
	return l.file.Truncate(size)
}

// TestFailingWrites: wherever a write fails, what was written before stays, nothing is damaged, and
// everything is written when writing works again, as an addition or as a new journal.
func TestFailingWrites(t *testing.T) {
	trials := 0
	for _, cause := range []error{unix.ENOSPC, unix.EIO} {
		for _, stuck := range []bool{false, true} {
			for space := 0; space < 6000; space += 97 {
				checkFailingWrite(t, space, cause, stuck)
				trials++
			}
		}
	}
	t.Logf("%d failing writes", trials)
}

func checkFailingWrite(t *testing.T, space int, cause error, stuck bool) {
	t.Helper()
	dir := t.TempDir()
	j, err := openJournal(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	log := new(bytes.Buffer)
	h := newHistory(j, slog.New(slog.NewTextHandler(log, nil)))
	for i := range 10 {
		h.Add("hq", change(i))
	}
	if err := h.writer.flush(h); err != nil {
		t.Fatal(err)
	}
	left := space
	j.file = &limited{j.file, &left, cause, stuck}
	j.open = func(path string, flags int) (file, error) {
		f, err := openFile(path, flags)
		return &limited{f, &left, cause, stuck}, err
	}
	for i := range 20 {
		h.Add("hq", change(10+i))
	}
	for range 2 {
		if err := h.writer.flush(h); err != nil && !errors.Is(err, cause) {
			t.Error(err)
		}
		if n := onDisk(t, dir); n < 10 {
			t.Errorf("%d bytes, %v: %d changes are left on the disk", space, cause, n)
		}
	}
	left = 1 << 30
	h.Add("hq", change(30))
	if err := h.writer.flush(h); err != nil {
		t.Error(err)
	}
	if n := onDisk(t, dir); n != 31 {
		t.Errorf("%d bytes, %v: %d changes are on the disk", space, cause, n)
	}
	if errs := strings.Count(log.String(), "level=ERROR"); errs > 1 || errs != strings.Count(log.String(), "written again") {
		t.Errorf("%d bytes, %v: log %s", space, cause, log)
	}
	closeHistory(t, h)
}
