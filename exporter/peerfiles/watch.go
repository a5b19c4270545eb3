package peerfiles

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// Every is how often the files are read although no change was reported: network file systems
	// report none, and a report may be lost.
	Every = time.Minute
	// settle is the time without a further change after which files are read, so that one that is
	// being written is read when it is complete. settleAtMost bounds that wait.
	settle       = 300 * time.Millisecond
	settleAtMost = 5 * time.Second
)

// A Watcher reports that peer files may have changed. It watches the directories: a file may be
// replaced by renaming another one over it, and in a ConfigMap of Kubernetes only a symbolic link
// beside the files changes.
type Watcher struct {
	log     *slog.Logger
	events  *fsnotify.Watcher // nil where the system provides none
	dirs    []string
	refused map[string]string // why a directory is not watched, as it was logged
}

// NewWatcher makes a Watcher of no directory.
func NewWatcher(log *slog.Logger) *Watcher {
	w := &Watcher{log: log, refused: make(map[string]string)}
	var err error
	if w.events, err = fsnotify.NewWatcher(); err != nil {
		log.Warn("watching the peer files failed; reading them once a minute", "err", err)
		w.events = nil
	}
	return w
}

// Close ends the watching.
func (w *Watcher) Close() {
	if w.events != nil {
		_ = w.events.Close() // nothing depends on it any more
	}
}

// Watch watches the directories of patterns, and no others. A directory that does not exist yet is
// tried again at the next call.
func (w *Watcher) Watch(patterns []string) {
	if w.events == nil {
		return
	}
	var dirs []string
	for _, p := range patterns {
		if dir := filepath.Dir(p); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, dir := range w.dirs {
		if !slices.Contains(dirs, dir) {
			_ = w.events.Remove(dir) // it may be gone
		}
	}
	w.dirs = dirs
	for _, dir := range dirs {
		text := ""
		if err := w.events.Add(dir); err != nil {
			text = err.Error()
		}
		if text != "" && text != w.refused[dir] {
			w.log.Warn("watching the peer files failed; reading them once a minute", "dir", dir, "err", text)
		}
		w.refused[dir] = text
	}
}

// Wait returns when files may have changed and nothing has changed for a moment since, when other is
// ready, after Every, or when ctx ends.
func (w *Watcher) Wait(ctx context.Context, other <-chan struct{}) {
	var events <-chan fsnotify.Event
	var faults <-chan error
	if w.events != nil {
		events, faults = w.events.Events, w.events.Errors
	}
	slow := time.NewTimer(Every)
	defer slow.Stop()
	var quiet, longest <-chan time.Time
	for {
		var changed bool
		select {
		case <-ctx.Done():
			return
		case <-other:
			return
		case <-slow.C:
			return
		case <-quiet:
			return
		case <-longest:
			return
		case err := <-faults: // an event may be lost
			w.log.Debug("watching the peer files reported an error", "err", err)
			changed = true
		case e := <-events:
			changed = e.Op != fsnotify.Chmod // which backups and virus scanners cause
		}
		if changed {
			quiet = time.After(settle)
		}
		if changed && longest == nil {
			longest = time.After(settleAtMost)
		}
	}
}
