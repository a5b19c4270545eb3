package peerfiles

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// patience is how long a change may take to be reported on a busy machine. It is shorter than the slow
// re-read, which would report everything.
const patience = Every / 2

// reported fails the test unless a change is reported soon.
func (w *Watcher) reported(t *testing.T, what string, change func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	change()
	if w.Wait(ctx, nil); ctx.Err() != nil {
		t.Errorf("%s: not reported within %v", what, patience)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWatch: what editors, Ansible and Kubernetes do to a file is reported.
func TestWatch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yml")
	w := NewWatcher(slog.New(slog.DiscardHandler))
	defer w.Close()
	patterns := []string{filepath.Join(dir, "*.yml"), filepath.Join(dir, "*.json"), filepath.Join(dir, "later", "*.yml")}
	w.Watch(patterns)
	w.reported(t, "created", func() { must(t, os.WriteFile(file, []byte("[]"), 0o600)) })
	w.reported(t, "written", func() { must(t, os.WriteFile(file, []byte("[ ]"), 0o600)) })
	w.reported(t, "renamed over", func() {
		must(t, os.WriteFile(file+".new", []byte("[]"), 0o600))
		must(t, os.Rename(file+".new", file))
	})
	w.reported(t, "removed", func() { must(t, os.Remove(file)) })
	// A ConfigMap: files are links to ..data/FILE, and ..data is a link that is replaced.
	for _, version := range []string{"..1", "..2"} {
		must(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, version, "a.yml"), []byte("[]"), 0o600))
	}
	w.reported(t, "linked", func() {
		must(t, os.Symlink("..1", filepath.Join(dir, "..data")))
		must(t, os.Symlink("..data/a.yml", file))
	})
	w.reported(t, "link replaced", func() {
		must(t, os.Symlink("..2", filepath.Join(dir, "..tmp")))
		must(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	})
	w.reported(t, "directory created", func() { must(t, os.Mkdir(filepath.Join(dir, "later"), 0o700)) })
	w.Watch(patterns)
	w.reported(t, "in the new directory", func() { must(t, os.WriteFile(filepath.Join(dir, "later", "a.yml"), []byte("[]"), 0o600)) })
}

// TestWatchWakes: a reload, or the end of the program, is not waited for.
func TestWatchWakes(t *testing.T) {
	t.Parallel()
	w := NewWatcher(slog.New(slog.DiscardHandler))
	defer w.Close()
	w.Watch([]string{filepath.Join(t.TempDir(), "*.yml")})
	other := make(chan struct{}, 1)
	other <- struct{}{}
	began := time.Now()
	w.Wait(t.Context(), other)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.Wait(ctx, nil)
	if took := time.Since(began); took >= Every {
		t.Errorf("it took %v", took)
	}
}
